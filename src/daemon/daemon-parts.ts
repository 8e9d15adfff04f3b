/** What the real daemon is made of: this is the one place where all layers meet. */
import { connectAgent } from "../agent/index.ts";
import type { DaemonParts } from "./daemon.ts";
import type { BackendSettings } from "../backends/backend-kind.ts";
import { backendKinds } from "../backends/index.ts";
import type { StatePaths } from "../config/paths.ts";
import { publisherNames } from "../config/publishers.ts";
import type { Settings } from "../config/settings.ts";
import { createImageStore, type ImageStore } from "../images/index.ts";

export const daemonParts: DaemonParts = {
  backends: (settings, state) => {
    const needed = backendSettings(settings, state);
    return backendKinds.map((kind) => ({ ...kind, open: async (uri) => await kind.open(needed, uri) }));
  },
  createImages,
  connectAgent,
};

function backendSettings(settings: Settings, state: StatePaths): BackendSettings {
  return {
    stateFolder: state.root,
    imageFolders: settings.image_folders,
    bootTimeoutMs: settings.boot_timeout_seconds * 1000,
    templateBudgetBytes: settings["templates.budget"],
    shellsPerTemplate: settings["templates.shells"],
    translationCacheBytes: settings["libvirt.translation_cache"] ?? undefined,
    usualShape: { cpus: settings.cpus, memoryBytes: settings.memory },
  };
}

function createImages(settings: Settings, state: StatePaths): ImageStore {
  return createImageStore({
    searchFolders: settings.image_folders,
    indexPath: state.imageIndex,
    copyFolder: state.imageCopies,
    alsoTrusted: qemuAccounts(settings["libvirt.uri"]),
    mirrors: Object.fromEntries(publisherNames.map((name) => [name, settings[`mirrors.${name}`]])),
  });
}

/**
 * A system's libvirt gives the files that its machines stand on to the account that QEMU has there, and trusts that
 * account with all its disks anyway; root's session does the same. For machines that run as this user it is a stranger.
 */
function qemuAccounts(uri: string): string[] {
  const isSystem = /^qemu(\+unix)?:\/\/\/system\b/i.test(uri);
  return isSystem || process.geteuid?.() === 0 ? ["libvirt-qemu", "qemu"] : [];
}
