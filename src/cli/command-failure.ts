/** An error that leaves with another exit code than its own: in `exec`, `run` and `sh`, 125 means heyvm and not the command. */
export class CommandFailure extends Error {
  readonly error: unknown;
  readonly exitCode: number;

  constructor(error: unknown, exitCode: number) {
    super("the command could not be run", { cause: error });
    this.error = error;
    this.exitCode = exitCode;
  }
}
