import { Option } from "commander";

import { parseSize } from "../../config/size.ts";

/** An option that takes `512M`, `2G` or plain bytes; its value is bytes. */
export function sizeOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text) => parseSize(text, option.long ?? flags));
}
