/** The exit code of a command that has done its work: the guest command's own, or a verdict. */
let exitCode = 0;

export function setExitCode(code: number): void {
  exitCode = code;
}

export function takeExitCode(): number {
  return exitCode;
}
