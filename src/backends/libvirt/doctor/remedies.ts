/** The one command that mends each finding, by distribution family. */
import type { DoctorCheck } from "../../backend.ts";

type Remedy = NonNullable<DoctorCheck["remedy"]>;

/** Installs packages. */
function install(debian: string, fedora: string, arch: string): Remedy {
  return {
    debian: `sudo apt-get update && sudo apt-get install -y ${debian}`,
    fedora: `sudo dnf install -y ${fedora}`,
    arch: `sudo pacman -S --needed --noconfirm ${arch}`,
  };
}

/** In force at the next login. */
export function joinGroup(name: string): Remedy {
  return { any: `sudo usermod -aG ${name} "$USER"` };
}

/** Now and after every boot. */
function kernelSetting(setting: string): Remedy {
  return {
    any: `echo '${setting}' | sudo tee /etc/sysctl.d/60-user-namespaces.conf && sudo sysctl --system`,
  };
}

/** For bubblewrap alone; `kernel.apparmor_restrict_unprivileged_userns=0` would lift it for every program. */
const appArmorProfile =
  "abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n}\\n";

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
  bubblewrap: install("bubblewrap", "bubblewrap", "bubblewrap"),
  allowNamespacesInAppArmor: {
    any: `printf '${appArmorProfile}' | sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser -r /etc/apparmor.d/bwrap`,
  },
  allowNamespacesInKernel: kernelSetting("kernel.unprivileged_userns_clone=1"),
  allowSomeNamespaces: kernelSetting("user.max_user_namespaces=15000"),
  libvirt: install("libvirt-daemon-system", "libvirt-daemon-kvm", "libvirt"),
  libvirtStart: {
    debian: "sudo systemctl enable --now libvirtd.socket",
    // Fedora has a daemon a driver: machines, and their disks.
    fedora: "sudo systemctl enable --now virtqemud.socket virtstoraged.socket",
    arch: "sudo systemctl enable --now libvirtd.socket",
  },
  kvmModule: { any: "sudo modprobe kvm_intel || sudo modprobe kvm_amd" },
  /** As udev makes it where its rules are in force. */
  kvmNode: { any: 'sudo chown root:kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm "$USER"' },
  kvmNodeAndGroup: {
    any: 'sudo groupadd --system kvm; sudo chown root:kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm "$USER"',
  },
  freeDisk: { any: "heyvm prune && heyvm images prune" },
  freeMemory: { any: "heyvm list" },
} satisfies Record<string, Remedy>;
