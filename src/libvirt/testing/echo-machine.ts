/** A machine whose guest, 46 bytes of a boot sector, sends back what its serial line gets and obeys its power button. */
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { SessionHost } from "./session-daemon.ts";

/** What the guest says first, after the firmware's words: ASCII's ACK. */
export const echoIsReady = "\u0006";

/** Real mode of the x86. q35's ACPI registers are where SeaBIOS puts them: events from port 0x600, control at 0x604. */
const bootSector = [
  [0xfa], // cli: the firmware would read the serial line, too
  [0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef], // dx = 0x602, ax = 0x100, out: the power button is an event
  [0xba, 0xf8, 0x03, 0xb0, 0x06, 0xee], // dx = 0x3f8, al = ACK, out
  [0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01], // loop: dx = 0x600, in ax, test ah: was it pressed?
  [0x75, 0x0f], // jnz off
  [0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01], // dx = 0x3fd, in al, test al: is there a byte?
  [0x74, 0xef], // jz loop
  [0xba, 0xf8, 0x03, 0xec, 0xee], // dx = 0x3f8, in al, out
  [0xeb, 0xe8], // jmp loop
  [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4], // off: dx = 0x604, ax = 0x2000, out, hlt: soft off
].flat();

/** Options of `withDomain` for such a machine, paused before its first instruction. */
export function echo(host: SessionHost): { start: true; extraDevices: string } {
  const path = join(host.folder, "echo.img");
  const disk = Buffer.alloc(1024 * 1024);
  disk.set(bootSector);
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, disk);
  chownSync(path, host.user.uid, host.user.gid);
  const extraDevices = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/>
    <target dev='sda' bus='sata'/></disk>`;
  return { start: true, extraDevices };
}
