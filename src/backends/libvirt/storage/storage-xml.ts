/** XML of the storage pool and of its volumes. */
import { XMLBuilder } from "fast-xml-parser";

import type { Backing } from "../host.ts";
import { poolName } from "../names.ts";
import { elementsAt, parseXml, textOf } from "../domain/xml.ts";

const builder = new XMLBuilder({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  suppressEmptyNode: true,
});

/** A folder of the host. Others may pass through it, because QEMU may be another user, but not list it. */
export function poolXml(folder: string): string {
  return builder.build({
    pool: {
      "@type": "dir",
      name: poolName,
      target: { path: folder, permissions: { mode: "0711" } },
    },
  });
}

/** Where a pool's volumes are. */
export function poolFolder(xml: string): string | undefined {
  return textOf(elementsAt(parseXml(xml), "pool", "target")[0], "path");
}

/** An empty disk on top of another file. */
export function overlayXml(name: string, backing: Backing, capacityBytes: number): string {
  return builder.build({
    volume: {
      name,
      capacity: { "@unit": "B", "#text": capacityBytes },
      allocation: 0,
      target: { format: { "@type": "qcow2" }, permissions: { mode: "0600" }, compat: "1.1" },
      backingStore: { path: backing.path, format: { "@type": backing.format } },
    },
  });
}

/** A file to be filled with bytes; also an image's, whatever its format: it is the upload that decides. */
export function fileXml(name: string, sizeBytes: number): string {
  return builder.build({
    volume: {
      name,
      capacity: { "@unit": "B", "#text": sizeBytes },
      allocation: { "@unit": "B", "#text": 0 },
      target: { format: { "@type": "raw" }, permissions: { mode: "0644" } },
    },
  });
}

/** The path that a volume stands on. */
export function backingPath(volumeXml: string): string | undefined {
  return textOf(elementsAt(parseXml(volumeXml), "volume", "backingStore")[0], "path");
}
