/** Every backend that heyvm knows, whether it can run here or not; apart from the settings, because each command needs it. */
export const backendNames = ["libvirt", "bubblewrap", "microsandbox"] as const;
