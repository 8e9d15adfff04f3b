/** Every setting: its key as users write it, its type, its environment variables, its default. */
import { z } from "zod";

import { backendNames } from "./backend-names.ts";
import { sandboxTypes } from "./machine-kinds.ts";
import { imageSearchFolders } from "./paths.ts";
import { mirrorVariable, type Publisher, publishers } from "./publishers.ts";
import { parseSize } from "./size.ts";

type BackendChoice = (typeof backendNames)[number];

export interface SettingDefinition<T = unknown> {
  schema: z.ZodType<T>;
  /** What a text stands for, because flags and the environment have nothing else. */
  fromText: (text: string) => unknown;
  /** Environment variables, the first that is set wins. */
  env: readonly string[];
  default: () => T;
  description: string;
}

function setting<T>(
  schema: z.ZodType<T>,
  env: readonly string[],
  defaultValue: () => T,
  description: string,
  fromText: (text: string) => unknown = (text) => text,
): SettingDefinition<T> {
  return { schema, env, default: defaultValue, description, fromText };
}

const nonEmpty = z.string().min(1);

const byteSize = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  if (typeof value === "number") return value;
  try {
    return parseSize(value);
  } catch {
    context.addIssue({
      code: "custom",
      message: `${JSON.stringify(value)} is not a size such as 512M or 2G`,
    });
    return z.NEVER;
  }
});

const numberFromText = (text: string): unknown => (/^\d+$/.test(text) ? Number(text) : text);
const noneFromText = (text: string): unknown => (text === "none" ? null : numberFromText(text));
const listFromText =
  (separator: string) =>
  (text: string): unknown =>
    text.split(separator).filter((part) => part !== "");

const mirrorUrl = z.url({ protocol: /^(https?|file)$/ }).nullable();
const mirror = (publisher: Publisher): SettingDefinition<string | null> =>
  setting(
    mirrorUrl,
    [mirrorVariable(publisher)],
    () => null,
    `base URL instead of ${publishers[publisher].host}`,
  );

/** The table of settings; keys with a dot are nested objects in the file. */
export const settingDefinitions = {
  backend_type: setting<BackendChoice>(
    z.enum(backendNames),
    ["HEYVM_BACKEND_TYPE"],
    () => "libvirt",
    "backend that new sandboxes get",
  ),
  backends: setting(
    z.array(z.enum(backendNames)).min(1).nullable(),
    ["HEYVM_BACKENDS", "MVM_BACKENDS"],
    () => null,
    "the only backends that may be used; null: all",
    listFromText(","),
  ),
  image: setting(nonEmpty, ["HEYVM_IMAGE"], () => "ubuntu:24.04", "image that new sandboxes get"),
  cpus: setting(z.int().min(1), ["HEYVM_CPUS"], () => 1, "virtual CPUs of a new sandbox", numberFromText),
  memory: setting(byteSize, ["HEYVM_MEMORY"], () => 2 ** 30, "memory of a new sandbox, bytes or 2G"),
  ttl_seconds: setting(
    z.int().min(1).nullable(),
    ["HEYVM_TTL_SECONDS"],
    () => null,
    "seconds after which a new sandbox is removed; null: never",
    noneFromText,
  ),
  boot_timeout_seconds: setting(
    z.int().min(1),
    ["HEYVM_BOOT_TIMEOUT_SECONDS"],
    () => 600,
    "how long a guest may take to boot until its agent answers",
    numberFromText,
  ),
  "templates.budget": setting(
    z.union([z.literal(0), byteSize]),
    ["HEYVM_TEMPLATES_BUDGET"],
    () => 20 * 2 ** 30,
    "disk that templates may take together, bytes or 20G; 0: no sandbox is cloned, all boot",
    (text) => (text === "0" ? 0 : text),
  ),
  "templates.shells": setting(
    z.int().min(0).max(16),
    ["HEYVM_TEMPLATES_SHELLS"],
    () => 2,
    "machines that are launched ahead for each template in use; each takes some 30 MB; 0: none",
    numberFromText,
  ),
  "pool.size": setting(
    z.int().min(0).max(16),
    ["HEYVM_POOL_SIZE"],
    () => 0,
    "machines that run before anybody asks for them and become the next sandboxes of their kind; 0: none",
    numberFromText,
  ),
  "pool.image": setting(
    nonEmpty.nullable(),
    ["HEYVM_POOL_IMAGE"],
    (): string | null => null,
    "image of the machines in the pool; null: the one that new sandboxes get",
  ),
  "pool.type": setting(
    z.enum(sandboxTypes),
    ["HEYVM_POOL_TYPE"],
    () => "shell" as const,
    "type of the machines in the pool",
  ),
  "libvirt.uri": setting(
    nonEmpty,
    ["HEYVM_LIBVIRT_URI", "HEYVM_URI"],
    () => "qemu:///session",
    "libvirt connection",
  ),
  "libvirt.translation_cache": setting(
    byteSize.nullable(),
    ["HEYVM_LIBVIRT_TRANSLATION_CACHE"],
    (): number | null => null,
    "a machine's cache of translated code without KVM, 16M at least; null: 22M for each GiB of a clone's memory, 128M for a machine that boots",
    noneFromText,
  ),
  "mirrors.debian": mirror("debian"),
  "mirrors.ubuntu": mirror("ubuntu"),
  "mirrors.alpine": mirror("alpine"),
  image_folders: setting(
    z.array(nonEmpty.startsWith("/", "must be an absolute path")).min(1),
    ["HEYVM_IMAGE_FOLDERS"],
    () => [...imageSearchFolders()],
    "folders where images are looked for; the last one receives downloads",
    listFromText(":"),
  ),
  socket: setting(
    nonEmpty.startsWith("/", "must be an absolute path").nullable(),
    ["HEYVM_SOCKET"],
    (): string | null => null,
    "the daemon's unix socket; null: heyvm.sock in the state folder, or in the runtime folder where that path is too long",
  ),
  "api.host": setting(nonEmpty, ["HEYVM_API_HOST"], () => "127.0.0.1", "address of the TCP listener"),
  "api.port": setting(
    z.int().min(0).max(65_535),
    ["HEYVM_API_PORT"],
    () => 3000,
    "port of the TCP listener",
    numberFromText,
  ),
  "api.tls_cert": setting(
    nonEmpty.startsWith("/", "must be an absolute path").nullable(),
    ["HEYVM_API_TLS_CERT"],
    (): string | null => null,
    "certificate of the TCP listener, in PEM; null: it has no TLS",
  ),
  "api.tls_key": setting(
    nonEmpty.startsWith("/", "must be an absolute path").nullable(),
    ["HEYVM_API_TLS_KEY"],
    (): string | null => null,
    "private key of that certificate, in PEM",
  ),
  "daemon.idle_seconds": setting(
    z.int().min(1),
    ["HEYVM_DAEMON_IDLE_SECONDS"],
    () => 600,
    "a daemon that was started on demand leaves after this long without work",
    numberFromText,
  ),
} as const;

export type SettingKey = keyof typeof settingDefinitions;

/** The value of every setting, by its key. */
export type Settings = {
  readonly [K in SettingKey]: (typeof settingDefinitions)[K] extends SettingDefinition<infer T> ? T : never;
};

/** Whether there is a setting of this name. */
export function isSettingKey(name: string): name is SettingKey {
  return Object.hasOwn(settingDefinitions, name);
}

/** All keys, in the order in which they are shown. */
export const settingKeys: readonly SettingKey[] = Object.keys(settingDefinitions).filter(isSettingKey);
