import stringWidth from "string-width";

import { pad, printable, truncate } from "./text.ts";

export interface Column<Row> {
  title: string;
  value: (row: Row) => string;
  /** Colours the cell after it was laid out. */
  paint?: ((cell: string, row: Row) => string) | undefined;
  /** May be cut when the terminal is too narrow. */
  flexible?: boolean | undefined;
  /** May be left out, the last first, when cutting is not enough. */
  optional?: boolean | undefined;
}

const gap = "  ";
const narrowestFlexible = 8;

/** Lines of an aligned table. `width` is the terminal's; without it nothing is cut. */
export function renderTable<Row>(
  allColumns: readonly Column<Row>[],
  rows: readonly Row[],
  options: { width?: number | undefined; paintTitle?: (text: string) => string } = {},
): string[] {
  const columns = columnsThatFit(allColumns, rows, options.width);
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, index) =>
    Math.max(stringWidth(column.title), ...cells.map((row) => stringWidth(row[index] ?? ""))),
  );
  shrink(widths, columns, options.width);
  const lay = (texts: readonly string[], paint: (cell: string, index: number) => string): string =>
    texts
      .map((text, index) => {
        const cut = truncate(text, widths[index] ?? 0);
        const laid = index === texts.length - 1 ? cut : pad(cut, widths[index] ?? 0);
        return paint(laid, index);
      })
      .join(gap)
      .trimEnd();
  const paintTitle = options.paintTitle ?? ((text: string) => text);
  return [
    lay(
      columns.map(({ title }) => title),
      (cell) => paintTitle(cell),
    ),
    ...rows.map((row, rowIndex) =>
      lay(cells[rowIndex] ?? [], (cell, index) => columns[index]?.paint?.(cell, row) ?? cell),
    ),
  ];
}

function columnsThatFit<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width: number | undefined,
): readonly Column<Row>[] {
  if (width === undefined) return columns;
  const kept = [...columns];
  const narrowest = ({ title, value, flexible }: Column<Row>): number => {
    const widest = Math.max(stringWidth(title), ...rows.map((row) => stringWidth(printable(value(row)))));
    return flexible === true ? Math.min(widest, narrowestFlexible) : widest;
  };
  const total = (): number => kept.reduce((sum, column) => sum + narrowest(column) + gap.length, -gap.length);
  while (total() > width) {
    const last = kept.findLastIndex(({ optional }) => optional === true);
    if (last < 0) break;
    kept.splice(last, 1);
  }
  return kept;
}

/** Takes from the widest flexible column until the table fits or nothing gives. */
function shrink<Row>(widths: number[], columns: readonly Column<Row>[], width: number | undefined): void {
  if (width === undefined) return;
  const total = (): number => widths.reduce((sum, one) => sum + one, gap.length * (widths.length - 1));
  while (total() > width) {
    const candidates = widths.map((one, index) => (columns[index]?.flexible === true ? one : 0));
    const widest = candidates.indexOf(Math.max(...candidates));
    const current = candidates[widest] ?? 0;
    if (current <= narrowestFlexible) return;
    widths[widest] = current - 1;
  }
}
