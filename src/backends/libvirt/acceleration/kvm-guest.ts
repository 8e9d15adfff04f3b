/**
 * A guest of 200 bytes that proves that KVM runs code: a boot sector that turns on paging and 64-bit mode, counts for a
 * moment there, and tells QEMU's `isa-debug-exit` device (port 0xf4) that it got so far. There are hosts where `/dev/kvm`
 * opens, a virtual machine can be made and the firmware runs, and yet whatever enters 64-bit mode hangs.
 *
 * The source, in GNU as:
 *
 *     .code16
 *     .org 0
 *     start:
 *      cli
 *      xor %ax,%ax
 *      mov %ax,%ds
 *      mov %ax,%es
 *      mov %ax,%ss
 *      mov $0x7c00,%sp
 *      # page tables: PML4 at 0x1000, PDPT 0x2000, PD 0x3000 (2MB pages)
 *      mov $0x1000,%edi
 *      mov %edi,%cr3
 *      xor %eax,%eax
 *      mov $0xC00,%ecx
 *      rep stosl
 *      movl $0x2003,0x1000
 *      movl $0x3003,0x2000
 *      movl $0x83,0x3000
 *      mov %cr4,%eax
 *      or $0x20,%eax
 *      mov %eax,%cr4
 *      mov $0xC0000080,%ecx
 *      rdmsr
 *      or $0x100,%eax
 *      wrmsr
 *      mov %cr0,%eax
 *      or $0x80000001,%eax
 *      mov %eax,%cr0
 *      lgdtl gdtr+0x7c00-start
 *      ljmp $8,$(long+0x7c00-start)
 *     .code64
 *     long:
 *      mov $16,%eax
 *      mov %eax,%ds
 *      mov %eax,%ss
 *      # count in long mode
 *      mov $100000000,%rcx
 *     1: dec %rcx
 *      jnz 1b
 *      mov $0x10,%al
 *      mov $0xf4,%dx
 *      outb %al,%dx
 *     2: hlt
 *      jmp 2b
 *     .balign 8
 *     gdt: .quad 0, 0x00209A0000000000, 0x0000920000000000
 *     gdtr: .word 23
 *      .long gdt+0x7c00-start
 *     .org 510
 *     .word 0xaa55
 */
const code = `
+jHAjtiOwI7QvAB8Zr8AEAAADyLfZjHAZrkADAAAZvOrZscGABADIAAAZscGACADMAAAZscGADCDAAAADyDgZoPIIA8i4Ga5gAAA
wA8yZg0AAQAADzAPIMBmDQEAAIAPIsBmDwEWqHzqbXwIALgQAAAAjtiO0EjHwQDh9QVI/8l1+7AQZrr0AO706/0PH0AAAAAAAAAA
AAAAAAAAAJogAAAAAAAAkgAAFwCQfAAAAAAAAAAAAAAAAAAAAAAAAAAA
`;

/** The I/O port that the guest writes to at its end. */
export const kvmGuestPort = 0xf4;
/** What it writes there. */
export const kvmGuestMark = 0x10;
/** Exit status of QEMU when the port is `isa-debug-exit`'s. */
export const guestExitStatus = (kvmGuestMark << 1) | 1;

/** The guest's disk. One sector would do; firmware wants a plausible disk. */
export function kvmGuestDisk(): Buffer {
  const disk = Buffer.alloc(1024 * 1024);
  Buffer.from(code, "base64").copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

/**
 * Copies the guest to where a boot sector begins, and goes there:
 *
 *     .code16
 *     .org 0
 *      .word 0xaa55
 *      .byte 1 # sectors
 *      jmp copy
 *     .org 0x20 # between: where a header of PCI or PnP would be
 *     copy:
 *      cli
 *      cld
 *      push %cs
 *      pop %ds
 *      xor %ax,%ax
 *      mov %ax,%es
 *      mov $0x40,%si
 *      mov $0x7c00,%di
 *      mov $0x1b0,%cx
 *      rep movsb
 *      ljmp $0,$0x7c00
 */
const romStart = "VaoB6xsAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAD6/A4fMcCOwL5AAL8AfLmwAfOk6gB8AAA=";
const romCodeOffset = 0x40;

/** The guest as the ROM of a device, which firmware runs before it looks for a disk: it can come out of a pipe. */
export function kvmGuestRom(): Buffer {
  const rom = Buffer.alloc(512);
  Buffer.from(romStart, "base64").copy(rom);
  Buffer.from(code, "base64").copy(rom, romCodeOffset);
  // All bytes of a ROM add up to 0.
  rom[511] = -rom.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return rom;
}

/**
 * QEMU's arguments to run the guest, whose ROM is its standard input: the machine and the CPU of a sandbox, with the one
 * device that ends it.
 */
export function kvmGuestArguments(accelerator: "kvm" | "tcg"): string[] {
  const options = {
    machine: `q35,accel=${accelerator}`,
    cpu: accelerator === "kvm" ? "host" : "max",
    m: "64",
    display: "none",
    device: `isa-debug-exit,iobase=${kvmGuestPort},iosize=1`,
    fw_cfg: "name=genroms/heyvm.rom,file=/dev/stdin",
  };
  return [
    "-nodefaults",
    "-no-reboot",
    ...Object.entries(options).flatMap(([name, value]) => [`-${name}`, value]),
  ];
}
