import type { Command } from "commander";

import type { BackendInfo } from "../../sdk/index.ts";
import { createInvocation } from "../invocation.ts";

export function define(command: Command): void {
  command.action(async () => {
    const invocation = createInvocation(command);
    const { style } = invocation;
    const backends = await (await invocation.connect()).backends({ signal: invocation.signal });
    if (invocation.json) {
      invocation.printJson(backends);
      return;
    }
    invocation.printTable<BackendInfo>(
      [
        { title: "NAME", value: (backend) => (backend.default ? `${backend.name} (default)` : backend.name) },
        {
          title: "AVAILABLE",
          value: ({ available }) => (available ? "yes" : "no"),
          paint: (cell, { available }) => (available ? style.green : style.red)(cell),
        },
        { title: "PAUSE", value: ({ pausable }) => (pausable ? "yes" : "no") },
        {
          title: "DESCRIPTION",
          value: ({ description, reason, pool }) => {
            const whole = reason === undefined ? description : `${description}: ${reason}`;
            return pool === undefined ? whole : `${whole}; warm: ${pool.ready} of ${pool.size}`;
          },
          flexible: true,
        },
      ],
      backends,
    );
    const usable = backends.filter(({ available }) => available);
    for (const { name, hint, available, default: isDefault } of backends) {
      // Where others do, nobody has to mend the ones that don't.
      if (available || (!isDefault && usable.length > 0) || hint === undefined) continue;
      invocation.note(`${invocation.errorStyle.cyan("hint:")} ${name}: ${hint}`);
    }
  });
}
