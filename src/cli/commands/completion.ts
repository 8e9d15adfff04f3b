import { type Command, Argument } from "commander";

import { completionScripts, type CompletionShell } from "../completion-scripts.ts";

export function define(command: Command): void {
  command
    .addArgument(new Argument("<shell>", "whose script").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
To use it:
  bash   echo 'source <(heyvm completion bash)' >> ~/.bashrc
  zsh    heyvm completion zsh > "\${fpath[1]}/_heyvm"
  fish   heyvm completion fish > ~/.config/fish/completions/heyvm.fish`,
    )
    .action((shell: CompletionShell) => void process.stdout.write(completionScripts[shell]));
}
