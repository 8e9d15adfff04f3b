/** The one place where errors are shown. */
import { errorCodes, type HeyvmError } from "../../errors/index.ts";
import { RemoteError } from "../../sdk/remote-error.ts";
import type { Style } from "./style.ts";

export interface ErrorReport {
  format: "text" | "json";
  debug: boolean;
  style: Style;
  /** Beside the code's own: `exec`, `run` and `sh` have theirs. */
  exitCode: number;
}

/** What goes to stderr: `error: …` with its hint, or one line of JSON with the same fields as the API's problems. */
export function renderError(error: HeyvmError, report: ErrorReport): string {
  if (report.format === "json") {
    const document = {
      error: error.message,
      code: error.code,
      hint: error.hint,
      details: error.details,
      retryable: error.retryable,
      request_id: error instanceof RemoteError && error.requestId !== "" ? error.requestId : undefined,
      exit_code: report.exitCode,
      stack: report.debug ? stackOf(error) : undefined,
    };
    return `${JSON.stringify(document)}\n`;
  }
  const { style } = report;
  const lines = [`${style.red("error:")} ${withoutControls(error.message)}`];
  if (error.hint !== undefined) lines.push(`  ${style.cyan("hint:")} ${withoutControls(error.hint)}`);
  if (error.code === "internal" && !report.debug) {
    lines.push("  this is a bug in heyvm; run the command again with --debug to see where");
  }
  if (report.debug) lines.push(style.dim(withoutControls(stackOf(error))));
  return `${lines.join("\n")}\n`;
}

/** The exit code that follows from an error's code. */
export function exitCodeOf(error: HeyvmError): number {
  return errorCodes[error.code].exit;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by: ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** Line breaks may stay (the end of a log); what could steer the terminal may not. */
function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replaceAll(/[\u0000-\u0009\u000B-\u001F\u007F-\u009F]/g, "�");
}
