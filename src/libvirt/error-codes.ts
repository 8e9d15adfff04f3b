/** Libvirt's error codes that a caller may want to tell apart, by name. Interface facts of virErrorNumber. */
export const libvirtErrorCode = {
  internalError: 1,
  noMemory: 2,
  noSupport: 3,
  unknownHost: 4,
  noConnect: 5,
  invalidConnection: 6,
  invalidDomain: 7,
  invalidArgument: 8,
  operationFailed: 9,
  callFailed: 26,
  xmlError: 27,
  domainExists: 28,
  operationDenied: 29,
  openFailed: 30,
  readFailed: 31,
  parseFailed: 32,
  configurationSyntax: 33,
  writeFailed: 34,
  xmlDetail: 35,
  systemError: 38,
  rpc: 39,
  noDomain: 42,
  authenticationFailed: 45,
  invalidStoragePool: 46,
  invalidStorageVolume: 47,
  noStoragePool: 49,
  noStorageVolume: 50,
  operationInvalid: 55,
  configurationUnsupported: 67,
  operationTimeout: 68,
  invalidSnapshot: 71,
  noSnapshot: 72,
  invalidStream: 73,
  argumentUnsupported: 74,
  storageProbeFailed: 75,
  storagePoolBuilt: 76,
  operationAborted: 78,
  authenticationCancelled: 79,
  noDomainMetadata: 80,
  overflow: 82,
  operationUnsupported: 84,
  ssh: 85,
  agentUnresponsive: 86,
  resourceBusy: 87,
  accessDenied: 88,
  dbusService: 89,
  storageVolumeExists: 90,
  xmlInvalidSchema: 92,
  authenticationUnavailable: 94,
  noServer: 95,
  noClient: 96,
  agentUnsynced: 97,
  deviceMissing: 99,
  noHostname: 108,
  multipleDomains: 110,
  agentCommandTimeout: 112,
  agentCommandFailed: 113,
} as const;

export type LibvirtErrorName = keyof typeof libvirtErrorCode;

const nameByCode = new Map<number, LibvirtErrorName>();
for (const name of Object.keys(libvirtErrorCode)) {
  if (isErrorName(name)) nameByCode.set(libvirtErrorCode[name], name);
}

/** The name of a code, `undefined` for one that is not in the table. */
export function libvirtErrorName(code: number): LibvirtErrorName | undefined {
  return nameByCode.get(code);
}

function isErrorName(name: string): name is LibvirtErrorName {
  return Object.hasOwn(libvirtErrorCode, name);
}
