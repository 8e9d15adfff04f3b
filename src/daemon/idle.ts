/** Ends a daemon that nobody needs. */

export interface IdleWatch {
  /** Something happened, or began. */
  touch(): void;
  close(): void;
}

/** Calls `onIdle` when `isBusy` was false for `idleMs` since the last touch. */
export function watchIdle(options: { idleMs: number; isBusy: () => boolean; onIdle: () => void }): IdleWatch {
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (options.isBusy()) arm();
      else options.onIdle();
    }, options.idleMs);
  };
  arm();
  return { touch: arm, close: () => clearTimeout(timer) };
}
