/** What libvirt's capabilities say of its host. */
import type { Accelerator } from "../domain/domain-xml.ts";
import type { Account } from "../storage/file-access.ts";
import type { HostCapabilities } from "../host.ts";
import { attributeOf, elementsAt, parseXml, textOf } from "../domain/xml.ts";

/** Reads the document; `ownUid` is this process's user, where libvirt's QEMU could be the same. */
export function parseCapabilities(
  document: string,
  memoryBytes: number,
  ownUid: number | undefined,
): Omit<HostCapabilities, "libvirtVersion"> {
  const root = parseXml(document);
  const accelerators: Record<string, Accelerator[]> = {};
  const emulators: Record<string, string> = {};
  for (const guest of elementsAt(root, "capabilities", "guest")) {
    if (textOf(guest, "os_type") !== "hvm") continue;
    for (const arch of elementsAt(guest, "arch")) {
      const kinds = new Set(elementsAt(arch, "domain").map((domain) => attributeOf(domain, "type")));
      const known = (accelerators[attributeOf(arch, "name") ?? ""] ??= []);
      if (kinds.has("kvm")) known.push("kvm");
      if (kinds.has("qemu")) known.push("tcg");
      const emulator = textOf(arch, "emulator");
      if (emulator !== undefined) emulators[attributeOf(arch, "name") ?? ""] = emulator;
    }
  }
  const account = qemuAccount(root);
  return {
    accelerators,
    emulators,
    memoryBytes,
    confinement: elementsAt(root, "capabilities", "host", "secmodel")
      .map((model) => textOf(model, "model"))
      .find((model) => model === "apparmor" || model === "selinux"),
    qemuAccount: account === undefined || account.uid === ownUid ? undefined : account,
  };
}

/** `<secmodel><model>dac</model><baselabel type='kvm'>+64055:+64055</baselabel>`; a session has no such label. */
function qemuAccount(root: ReturnType<typeof parseXml>): Account | undefined {
  for (const model of elementsAt(root, "capabilities", "host", "secmodel")) {
    if (textOf(model, "model") !== "dac") continue;
    const match = /^\+(\d+):\+(\d+)$/.exec(textOf(model, "baselabel") ?? "");
    if (match !== null) return { uid: Number(match[1]), gid: Number(match[2]) };
  }
  return undefined;
}
