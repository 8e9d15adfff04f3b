/** Holds the lock of a folder until it is ended, with a child that lives on. For tests, as another process. */
import { spawn } from "node:child_process";

import { lockForProcess } from "../process-lock.ts";

const [folder = "", name = ""] = process.argv.slice(2);

const signal = AbortSignal.timeout(60_000);
const { lock } = await lockForProcess({ folder, name, what: "holding", signal });
lock.tell({ step: 7 });
const child = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
child.unref();
process.stdout.write(`${JSON.stringify({ childPid: child.pid })}\n`);
setInterval(() => undefined, 60_000);
