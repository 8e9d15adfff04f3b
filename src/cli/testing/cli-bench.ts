/** The command line as a real process, beside a daemon whose one sandbox is a folder of this host. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type HostDaemon, startHostDaemon } from "./host-daemon.ts";
import { type CliResult, runCli } from "./run-cli.ts";

export interface CliBench extends AsyncDisposable {
  folder: string;
  daemon: HostDaemon;
  heyvm(...words: string[]): Promise<CliResult>;
}

/** Both are gone after the `await using` block; `play` replaces what the daemon does. */
export async function createCliBench(play?: Parameters<typeof startHostDaemon>[1]): Promise<CliBench> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  await mkdir(join(folder, "guest", "workspace"), { recursive: true });
  const daemon = await startHostDaemon(join(folder, "guest"), play);
  return {
    folder,
    daemon,
    heyvm: (...words) => runCli(words, { socketPath: daemon.socketPath }),
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
