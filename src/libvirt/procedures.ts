/** The procedures that this client calls, by number. Interface facts of libvirt's `remote` and `qemu` programs. */

export const remoteProgram = 0x20008086;
export const qemuProgram = 0x20008087;
export const keepAliveProgram = 0x6b656570;
/** All three programs have been at version 1 ever since. */
export const programVersion = 1;

const remoteProcedures = {
  connectOpen: 1,
  connectClose: 2,
  connectGetVersion: 4,
  nodeGetInfo: 6,
  connectGetCapabilities: 7,
  domainCreateXml: 10,
  domainGetXmlDesc: 14,
  domainLookupByName: 23,
  domainLookupByUuid: 24,
  domainReboot: 27,
  domainResume: 28,
  domainSetAutostart: 29,
  domainSuspend: 34,
  connectGetHostname: 59,
  connectSupportsFeature: 60,
  authList: 66,
  authPolkit: 70,
  storagePoolCreateXml: 76,
  storagePoolDefineXml: 77,
  storagePoolCreate: 78,
  storagePoolBuild: 79,
  storagePoolDestroy: 80,
  storagePoolDelete: 81,
  storagePoolUndefine: 82,
  storagePoolRefresh: 83,
  storagePoolLookupByName: 84,
  storagePoolLookupByUuid: 85,
  storagePoolGetInfo: 87,
  storagePoolGetXmlDesc: 88,
  storagePoolSetAutostart: 90,
  storageVolCreateXml: 93,
  storageVolDelete: 94,
  storageVolLookupByName: 95,
  storageVolLookupByPath: 97,
  storageVolGetInfo: 98,
  storageVolGetXmlDesc: 99,
  storageVolGetPath: 100,
  storageVolCreateXmlFrom: 125,
  domainIsPersistent: 151,
  storagePoolIsActive: 154,
  connectGetLibVersion: 157,
  domainAttachDeviceFlags: 160,
  domainDetachDeviceFlags: 161,
  domainAbortJob: 164,
  domainUpdateDeviceFlags: 174,
  domainManagedSave: 182,
  domainHasManagedSaveImage: 183,
  domainManagedSaveRemove: 184,
  domainSnapshotCreateXml: 185,
  domainSnapshotGetXmlDesc: 186,
  domainRevertToSnapshot: 192,
  domainSnapshotDelete: 193,
  domainCreateWithFlags: 196,
  domainOpenConsole: 201,
  storageVolUpload: 208,
  storageVolDownload: 209,
  domainScreenshot: 211,
  domainGetState: 212,
  domainUndefineFlags: 231,
  domainSaveFlags: 232,
  domainRestoreFlags: 233,
  domainDestroyFlags: 234,
  domainReset: 245,
  domainBlockResize: 251,
  domainShutdownFlags: 258,
  storageVolResize: 260,
  domainSetMetadata: 264,
  domainGetMetadata: 265,
  connectListAllDomains: 273,
  domainListAllSnapshots: 274,
  connectListAllStoragePools: 281,
  storagePoolListAllVolumes: 282,
  domainOpenChannel: 296,
  domainGetJobStats: 298,
  connectDomainEventCallbackRegisterAny: 316,
  connectGetDomainCapabilities: 342,
  connectGetAllDomainStats: 344,
  domainDefineXmlFlags: 350,
  domainInterfaceAddresses: 353,
  storagePoolLookupByTargetPath: 391,
} as const;

const qemuProcedures = {
  qemuDomainMonitorCommand: 1,
  qemuDomainAgentCommand: 3,
} as const;

/** Messages of the `remote` program that come without a call. */
export const eventProcedure = { lifecycle: 318, reboot: 319, agentLifecycle: 348 } as const;

export const keepAliveProcedure = { ping: 1, pong: 2 } as const;

/** The kinds of events that can be asked for. */
export const eventId = { lifecycle: 0, reboot: 1, agentLifecycle: 18 } as const;

/** Numbers for `supportsFeature` that matter to a client. */
export const driverFeature = { keepAlive: 10, eventCallback: 14 } as const;

export type ProcedureName = keyof typeof remoteProcedures | keyof typeof qemuProcedures;

/** Where a procedure is found. */
export function procedureAddress(name: ProcedureName): { program: number; procedure: number } {
  return isQemuProcedure(name)
    ? { program: qemuProgram, procedure: qemuProcedures[name] }
    : { program: remoteProgram, procedure: remoteProcedures[name] };
}

function isQemuProcedure(name: ProcedureName): name is keyof typeof qemuProcedures {
  return Object.hasOwn(qemuProcedures, name);
}
