/** The shells' sides of completion: each asks `heyvm __complete` and shows what it answers. */
export type CompletionShell = "bash" | "zsh" | "fish";

const bash = `# heyvm completion for bash
_heyvm() {
  local cur words cword
  # A colon is part of our words (debian:12, web:/path), whatever COMP_WORDBREAKS says.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : cur words cword
  else
    cur="\${COMP_WORDS[COMP_CWORD]}"; words=("\${COMP_WORDS[@]}"); cword=$COMP_CWORD
  fi
  local line
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    [[ -n $line ]] && COMPREPLY+=("$line")
  done < <("\${words[0]}" __complete -- "\${words[@]:1:$cword}" 2>/dev/null)
  if [[ \${#COMPREPLY[@]} -eq 0 ]]; then
    compopt -o default 2>/dev/null
  elif [[ \${COMPREPLY[0]} == *: ]]; then
    compopt -o nospace 2>/dev/null
  fi
  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
  return 0
}
complete -F _heyvm heyvm
`;

const zsh = `#compdef heyvm
# heyvm completion for zsh
_heyvm() {
  local -a candidates
  local value description
  while IFS=$'\\t' read -r value description; do
    [[ -n $value ]] && candidates+=("\${value//:/\\\\:}:$description")
  done < <("\${words[1]}" __complete -- "\${(@)words[2,$CURRENT]}" 2>/dev/null)
  if (( \${#candidates} )); then
    _describe -V heyvm candidates
  else
    _files
  fi
}
if [[ "$funcstack[1]" == "_heyvm" ]]; then _heyvm "$@"; else compdef _heyvm heyvm; fi
`;

const fish = `# heyvm completion for fish
function __heyvm_complete
  set -l words (commandline -opc) (commandline -ct)
  $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c heyvm -f -a '(__heyvm_complete)'
complete -c heyvm -n '__fish_seen_subcommand_from cp create run images' -F
`;

export const completionScripts: Readonly<Record<CompletionShell, string>> = { bash, zsh, fish };
