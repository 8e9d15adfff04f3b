/** What a domain can be labelled with. */
import { nothing, type Rpc } from "../rpc.ts";
import { writeDomain, type DomainRef } from "../xdr-types.ts";
import { flags } from "./flags.ts";
import type { ImpactOptions } from "./domain.ts";

/** An XML element of one's own inside the domain's `<metadata>`. */
export interface MetadataElement {
  /** The element, without a namespace declaration of its own. */
  xml: string;
  /** The namespace prefix that libvirt gives it. */
  prefix: string;
  namespace: string;
}

export interface DomainMetadataCalls {
  /** Rejects with code `noDomainMetadata` when there is none in this namespace. */
  get(domain: DomainRef, namespace: string, options?: ImpactOptions): Promise<string>;
  /** Replaces the element of the same namespace. */
  set(domain: DomainRef, element: MetadataElement, options?: ImpactOptions): Promise<void>;
  remove(domain: DomainRef, namespace: string, options?: ImpactOptions): Promise<void>;
  setTitle(domain: DomainRef, title: string | undefined, options?: ImpactOptions): Promise<void>;
  setDescription(domain: DomainRef, text: string | undefined, options?: ImpactOptions): Promise<void>;
}

/** What kind of metadata a call is about. */
const metadataType = { description: 0, title: 1, element: 2 } as const;

export function domainMetadataCalls(rpc: Rpc): DomainMetadataCalls {
  const set = (
    domain: DomainRef,
    type: number,
    value: { text: string | undefined; prefix?: string; namespace?: string },
    options: ImpactOptions = {},
  ): Promise<void> =>
    rpc.call(
      "domainSetMetadata",
      (writer) =>
        writeDomain(writer, domain)
          .i32(type)
          .optionalString(value.text)
          .optionalString(value.prefix)
          .optionalString(value.namespace)
          .u32(impactBits(options)),
      nothing,
      options,
    );

  return {
    get: (domain, namespace, options = {}) =>
      rpc.call(
        "domainGetMetadata",
        (writer) =>
          writeDomain(writer, domain)
            .i32(metadataType.element)
            .optionalString(namespace)
            .u32(impactBits(options)),
        (reader) => reader.string(),
        options,
      ),
    set: (domain, { xml, prefix, namespace }, options) =>
      set(domain, metadataType.element, { text: xml, prefix, namespace }, options),
    remove: (domain, namespace, options) =>
      set(domain, metadataType.element, { text: undefined, namespace }, options),
    setTitle: (domain, text, options) => set(domain, metadataType.title, { text }, options),
    setDescription: (domain, text, options) => set(domain, metadataType.description, { text }, options),
  };
}

/** Neither of both: what the domain is now. */
export function impactBits(options: ImpactOptions): number {
  return flags([options.live, 1], [options.config, 2]);
}
