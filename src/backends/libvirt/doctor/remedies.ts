/** The one command that mends each finding, by distribution family. */
import type { DoctorCheck } from "../../backend.ts";

type Remedy = NonNullable<DoctorCheck["remedy"]>;

/** Installs packages. */
function install(debian: string, fedora: string, arch: string): Remedy {
  return {
    debian: `sudo apt-get install -y ${debian}`,
    fedora: `sudo dnf install -y ${fedora}`,
    arch: `sudo pacman -S --needed --noconfirm ${arch}`,
  };
}

const arm = process.arch === "arm64";

export const remedies = {
  qemu: install(
    arm ? "qemu-system-arm qemu-efi-aarch64" : "qemu-system-x86",
    arm ? "qemu-system-aarch64 edk2-aarch64" : "qemu-kvm",
    arm ? "qemu-system-aarch64 edk2-aarch64" : "qemu-base",
  ),
  qemuImg: install("qemu-utils", "qemu-img", "qemu-img"),
  isoTool: install("xorriso", "xorriso", "libisoburn"),
  passt: install("passt", "passt", "passt"),
  libvirt: install("libvirt-daemon-system", "libvirt-daemon-kvm", "libvirt"),
  libvirtStart: { any: "sudo systemctl enable --now libvirtd.socket" },
  kvmModule: { any: "sudo modprobe kvm_intel || sudo modprobe kvm_amd" },
  kvmGroup: { any: 'sudo usermod -aG kvm "$USER"' },
  libvirtGroup: { any: 'sudo usermod -aG libvirt "$USER"' },
  freeDisk: { any: "heyvm prune && heyvm images prune" },
  freeMemory: { any: "heyvm list" },
} satisfies Record<string, Remedy>;
