/** What machines come as, by the names that users know. */

/** `shell`: what the image has; it needs nothing, and is the first. `python`: python3, pip and venv work. `node`: node and npm. */
export const sandboxTypes = ["shell", "python", "node"] as const;
/** Sizes. */
export const sizeClasses = ["micro", "mini", "small", "medium", "large"] as const;

export type SandboxType = (typeof sandboxTypes)[number];
export type SizeClass = (typeof sizeClasses)[number];
