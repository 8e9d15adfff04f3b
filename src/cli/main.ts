/** Where the `heyvm` program begins. */
import { packageVersion } from "../config/version.ts";
import { HeyvmError, toHeyvmError } from "../errors/index.ts";
import { exitCodeOfSignal, type InterruptingSignal } from "./interruption.ts";

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
    { fromCommander, fromCurrentFolder, isHelpShown },
    { CommandFailure },
  ] = await Promise.all([
    import("./output/errors.ts"),
    import("./output/style.ts"),
    import("./usage-error.ts"),
    import("./command-failure.ts"),
  ]);
  if (isHelpShown(thrown)) return 0;
  const ours = thrown instanceof CommandFailure ? thrown.error : thrown;
  const options = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined);
  const verb = options.find((word) => !word.startsWith("-"));
  const cause = fromCommander(ours, verb) ?? fromCurrentFolder(ours) ?? toHeyvmError(ours);
  const interrupted = interruptedCode(cause);
  // Which of our calls was waiting is of no interest to whoever ended it.
  const error = interrupted === undefined ? cause : new HeyvmError("aborted", "interrupted", { cause });
  const exitCode = thrown instanceof CommandFailure ? thrown.exitCode : (interrupted ?? exitCodeOf(error));
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

/** The signal that ended the work counts, not only that it was ended. */
function interruptedCode(error: HeyvmError): number | undefined {
  if (error.code !== "aborted") return undefined;
  const names: readonly InterruptingSignal[] = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];
  const name = names.find((candidate) => candidate === error.cause);
  return name === undefined ? undefined : exitCodeOfSignal(name);
}

/** Ends now, whatever still is open (stdin, an idle connection), but not before all output is out. */
async function leave(exitCode: number): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => void stream.write("", () => resolve()));
  }
  process.exit(exitCode);
}
