import type { RunningCommand } from "../agent/types.ts";

/** Time for a command to tidy up after the one who wanted it has gone. */
const graceMs = 3000;

/** Ends a command that nobody listens to any more: politely, then for sure. Its outputs are read to their ends. */
export async function endCommand(command: RunningCommand): Promise<void> {
  command.stdin.destroy();
  command.stdout.resume();
  command.stderr.resume();
  command.kill("SIGTERM");
  const timer = setTimeout(() => command.kill("SIGKILL"), graceMs);
  try {
    await command.exit;
  } catch {
    // The session is lost, and the command with it.
  } finally {
    clearTimeout(timer);
  }
}
