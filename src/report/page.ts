/** The shell of a page that is one file: no script, no request, light and dark. */
import { escaped } from './markup.ts';
import { darkChartStyle, fontFamily, pageColours } from './theme.ts';

const style = `
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:32px 24px 64px;font:15px/1.5 ${fontFamily};color:var(--ink);background:var(--paper)}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h1,p{overflow-wrap:anywhere}
h2{font-size:18px;margin:40px 0 12px}
p,.faint{color:var(--faint)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:20px;margin-top:28px}
figure{margin:0;border:1px solid var(--grid);border-radius:8px;overflow:hidden}
figure svg{display:block;width:100%;height:auto}
figure .narrow{display:none}
.scroll{overflow:auto;max-height:520px;border:1px solid var(--grid);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 12px;text-align:left;min-width:4em;border-bottom:1px solid var(--grid);vertical-align:top}
tr:last-child td{border-bottom:0}
thead th{color:var(--faint);font-weight:500;position:sticky;top:0;background:var(--paper)}
.number{text-align:right;white-space:nowrap}td:first-child{white-space:nowrap}td:last-child:not(.number){min-width:12em}
pre{margin:0;padding:14px 16px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.prompt{color:var(--faint)}
details{margin:0 0 10px}summary{cursor:pointer;padding:4px 0}
@media (max-width:600px){
body{padding:20px 12px 40px}
th,td{padding:6px 8px}
figure .wide{display:none}
figure .narrow{display:block}
.named thead{display:none}
.named tr{display:block;padding:6px 0;border-bottom:1px solid var(--grid)}
.named td{display:flex;justify-content:space-between;gap:16px;padding:2px 8px;border:0;text-align:right;white-space:normal}
.named td::before{content:attr(data-name);color:var(--faint);white-space:nowrap}
}
@media print{.scroll{max-height:none}}
`;

/** The page up to its sections. The policy blocks anything that text in them could load. */
export function pageHead(title: string, lead: string): string {
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">' +
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">' +
    '<meta name="viewport" content="width=device-width, initial-scale=1">' +
    `<title>${escaped(title)}</title><style>${pageColours()}${style}${darkChartStyle()}</style></head>\n` +
    `<body><h1>${escaped(title)}</h1><p>${escaped(lead)}</p>`
  );
}

/** Pixels of a chart. */
export interface ChartSize {
  readonly width: number;
  readonly height: number;
}

const narrow: ChartSize = { width: 340, height: 300 };

/** A chart in two sizes, of which a page shows the one that fits: made smaller for a phone, the letters of a wide one could not be read. */
export function figure(wide: ChartSize, draw: (size: ChartSize) => string): string {
  return `<figure><div class="wide">${draw(wide)}</div><div class="narrow">${draw(narrow)}</div></figure>\n`;
}

export const pageEnd = '</body></html>\n';

/** Cells that look like numbers end at the right. @param headings none: the first column names the rows */
export function htmlTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const numeric = (column: number) =>
    headings.length > 0 && rows.every((row) => /^$|^[-–\d.,%\s]+$/.test(row[column] ?? ''));
  const classes = headings.map((_, column) => (numeric(column) ? ' class="number"' : ''));
  // On a phone each row is shown as a list of names and values.
  const names = headings.map((heading) => ` data-name="${escaped(heading)}"`);
  const head = headings.map((heading, i) => `<th${classes[i]}>${escaped(heading)}</th>`).join('');
  const body = rows.map(
    (row) =>
      `<tr>${row.map((cell, i) => `<td${classes[i] ?? ''}${names[i] ?? ''}>${escaped(cell)}</td>`).join('')}</tr>`,
  );
  return `<div class="scroll"><table${head === '' ? '' : ' class="named"'}>${head === '' ? '' : `<thead><tr>${head}</tr></thead>`}<tbody>${body.join('')}</tbody></table></div>`;
}
