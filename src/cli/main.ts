/** Where the `heyvm` program begins. */
import { packageVersion } from "../config/version.ts";
import { AbortedError, HeyvmError, toHeyvmError } from "../errors/index.ts";
import { exitCodeOfSignal, type InterruptingSignal, interruptionOf } from "./interruption.ts";

await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", onOutputError);
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) {
    process.stdout.write(`${packageVersion()}\n`);
    return;
  }
  try {
    const { runProgram } = await import("./run-program.ts");
    await leave(await runProgram(argv, packageVersion()));
  } catch (error) {
    await leave(await reportError(error, argv));
  }
}

/** A reader such as `head` that has seen enough is no failure; the exit code is that of a program that SIGPIPE ended. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(141);
  throw error;
}

async function reportError(thrown: unknown, argv: readonly string[]): Promise<number> {
  const [
    { renderError, exitCodeOf },
    { createStyle, usesColors },
    { fromCurrentFolder },
    { CommandFailure },
  ] = await Promise.all([
    import("./output/errors.ts"),
    import("./output/style.ts"),
    import("./usage-error.ts"),
    import("./command-failure.ts"),
  ]);
  const ours = thrown instanceof CommandFailure ? thrown.error : thrown;
  const options = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined);
  const cause = fromCurrentFolder(ours) ?? toHeyvmError(ours);
  const signal = interruptionOf(cause);
  const error = signal === undefined ? cause : interrupted(cause, signal);
  const own = thrown instanceof CommandFailure ? thrown.exitCode : exitCodeOf(error);
  const exitCode = signal === undefined ? own : exitCodeOfSignal(signal);
  const json = options.some(
    (word, index) => word === "--format=json" || (word === "--format" && options[index + 1] === "json"),
  );
  const report = renderError(error, {
    format: json ? "json" : "text",
    debug: options.includes("--debug"),
    style: createStyle(usesColors(process.stderr)),
    exitCode,
  });
  process.stderr.write(report);
  return exitCode;
}

/** Which of our calls was waiting is of no interest to whoever ended it; what that leaves behind is. */
function interrupted(cause: HeyvmError, signal: InterruptingSignal): HeyvmError {
  const outcome = cause instanceof AbortedError ? cause.outcome : undefined;
  return new HeyvmError("aborted", `interrupted by ${signal}${outcome === undefined ? "" : `: ${outcome}`}`, {
    hint: cause.hint,
    details: { ...cause.details, signal },
    cause,
  });
}

/** Ends now, whatever still is open (stdin, an idle connection), but not before all output is out. */
async function leave(exitCode: number): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => void stream.write("", () => resolve()));
  }
  process.exit(exitCode);
}
