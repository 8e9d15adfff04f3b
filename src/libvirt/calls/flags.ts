/** Libvirt's flags: options by name here, bits there. */

/** The bits of those that are set. */
export function flags(...pairs: readonly (readonly [isSet: boolean | undefined, bit: number])[]): number {
  let bits = 0;
  for (const [isSet, bit] of pairs) if (isSet === true) bits |= bit;
  return bits;
}

/** For questions with three answers: yes, no and either way. */
export function either(value: boolean | undefined, yesBit: number, noBit: number): number {
  if (value === undefined) return 0;
  return value ? yesBit : noBit;
}

/** The name at `index`, `unknown` for what this client has no name for. */
export function nameAt<T extends string>(names: readonly T[], index: number): T | "unknown" {
  return names[index] ?? "unknown";
}
