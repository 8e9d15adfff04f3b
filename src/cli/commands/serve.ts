import type { Command } from "commander";

export function define(_command: Command): void {}
export async function serveApi(_command: Command): Promise<void> {}
