/** All backends of this version. */
import type { BackendKind } from "./backend-kind.ts";
import { libvirtKind } from "./libvirt/index.ts";
import { unsupportedKind } from "./unsupported-backend.ts";

export const backendKinds: readonly BackendKind[] = [
  libvirtKind,
  unsupportedKind({
    name: "bubblewrap",
    description: "namespaces of this host's kernel, without a machine",
    usesImages: false,
    takesUri: false,
  }),
  unsupportedKind({
    name: "microsandbox",
    description: "small virtual machines by the microsandbox SDK",
    usesImages: true,
    takesUri: false,
  }),
];
