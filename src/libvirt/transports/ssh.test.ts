import { describe, expect, it } from "vitest";

import { parseConnectionUri } from "../uri.ts";
import { sshArguments } from "./ssh.ts";

describe("the ssh command", () => {
  it("is libvirt's own, with the host after the end of the options", () => {
    const command = sshArguments(parseConnectionUri("qemu+ssh://me@host:2222/system?keyfile=/k&no_verify=1"));
    expect(command.slice(0, -1).join(" ")).toBe(
      "ssh -p 2222 -l me -i /k -o StrictHostKeyChecking=no -T -o BatchMode=yes -e none -- host sh -c",
    );
  });

  it("asks for the helper and falls back to netcat", () => {
    const script = sshArguments(parseConnectionUri("qemu+ssh://host/system")).at(-1) ?? "";
    expect(script).toContain("virt-ssh-helper");
    expect(script).toContain("/var/run/libvirt");
    expect(script).toContain("libvirt-sock");
  });

  it("goes without the helper, which cannot be told, when the kind of daemon is given", () => {
    for (const [mode, name] of [
      ["direct", "virtqemud-sock"],
      ["legacy", "libvirt-sock"],
    ]) {
      const script = sshArguments(parseConnectionUri(`qemu+ssh://host/system?mode=${mode}`)).at(-1) ?? "";
      expect(script).not.toContain("virt-ssh-helper");
      expect(script).toContain(`s="$d/${name}"; if `);
    }
  });

  it("quotes what the remote shell would take apart", () => {
    const uri = parseConnectionUri("qemu+ssh://host/system?socket=/tmp/a'%3B%20reboot%20%23&proxy=netcat");
    const script = sshArguments(uri).at(-1) ?? "";
    // One pair of quotes for the outer shell, one for the inner.
    expect(script.startsWith("'s='\\''/tmp/a'\\''\\'\\'''\\''; reboot #'\\'';")).toBe(true);
  });
});
