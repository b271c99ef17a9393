/**
 * The page's looks. All of it is below one shadow root: nothing of it reaches the page around it, and nothing of that
 * page's styles reaches in. Colors have a contrast of 4.5 for texts and 3 for marks on their background, in both
 * themes; a state is never told by its color alone, but by how high a mark is filled as well.
 */
import { SlotState } from "./model.ts";

/** Colors of one theme. */
interface Theme {
  readonly background: string;
  readonly panel: string;
  readonly raised: string;
  readonly text: string;
  readonly soft: string;
  readonly line: string;
  readonly edge: string;
  readonly accent: string;
  readonly alarm: string;
  readonly alarmBackground: string;
  /** By {@link SlotState}: fresh, short, long, old, held. */
  readonly states: readonly [string, string, string, string, string];
}

const LIGHT: Theme = {
  background: "#f4f5f8",
  panel: "#ffffff",
  raised: "#eceff4",
  text: "#1a1f29",
  soft: "#535c6b",
  line: "#dde1e8",
  edge: "#7a8494",
  accent: "#1d5fd1",
  alarm: "#b3261e",
  alarmBackground: "#fdeceb",
  states: ["#3b82e6", "#0c8f7c", "#b96a00", "#c4261d", "#7a55b8"],
};

const DARK: Theme = {
  background: "#0f1217",
  panel: "#171b22",
  raised: "#222833",
  text: "#e8ebf0",
  soft: "#a5afbf",
  line: "#2b323e",
  edge: "#7d8798",
  accent: "#8ab6ff",
  alarm: "#ff9389",
  alarmBackground: "#3a1d1c",
  states: ["#5b9dff", "#35c4ab", "#f0a93c", "#ff6a5e", "#b497ec"],
};

/** What canvases draw with: the colors of the theme that is on. */
export interface Palette {
  readonly isDark: boolean;
  readonly panel: string;
  readonly text: string;
  readonly soft: string;
  readonly line: string;
  readonly edge: string;
  readonly accent: string;
  readonly alarm: string;
  readonly raised: string;
  /** The color of a {@link SlotState}; of a free slot its edge. */
  readonly states: readonly string[];
}

/** The palette of a theme. */
export function paletteOf(isDark: boolean): Palette {
  const { states, ...theme } = isDark ? DARK : LIGHT;
  const colors: string[] = [];
  colors[SlotState.FREE] = theme.edge;
  colors[SlotState.FRESH] = states[0];
  colors[SlotState.SHORT] = states[1];
  colors[SlotState.LONG] = states[2];
  colors[SlotState.OLD] = states[3];
  colors[SlotState.HELD] = states[4];
  colors[SlotState.UNTOLD] = theme.edge;
  return { isDark, ...theme, states: colors };
}

/** How much of a mark is filled in each {@link SlotState}, from its lower edge. */
export const FILL: readonly number[] = [0, 0.4, 0.6, 0.8, 1, 1, 0];

function variables({ states, ...theme }: Theme, scheme: string): string {
  const names = Object.entries(theme).map(([name, value]) => `--${name}:${value}`);
  return `color-scheme:${scheme};--scheme:${scheme};${names.join(";")};${states.map((value, i) => `--state${i + 1}:${value}`).join(";")}`;
}

/** The style sheet. */
export const STYLE: string = `
:host{display:block;${variables(LIGHT, "light")};background:var(--background);container-type:inline-size}
@media (prefers-color-scheme:dark){:host{${variables(DARK, "dark")}}}
:host([data-theme=light]){${variables(LIGHT, "light")}}
:host([data-theme=dark]){${variables(DARK, "dark")}}
:host([hidden]),[hidden]{display:none!important}
*,*::before,*::after{box-sizing:border-box}
h1,h2,h3,p,ul,ol,figure,dl,dd{margin:0;padding:0}
ul,ol{list-style:none}
button,select{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--edge);border-radius:6px;
  padding:4px 10px;min-height:32px;cursor:pointer}
select{max-width:11em}
button:hover,select:hover{background:var(--raised)}
button:disabled{color:var(--soft);cursor:default}
:focus{outline:none}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.93em}
.soft{color:var(--soft)}
.num{font-variant-numeric:tabular-nums}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
/* What the page around it says of the host element is inherited; here it ends. */
.page{all:initial;color-scheme:var(--scheme);color:var(--text);background:var(--background);
  font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;text-align:start;display:grid;grid-template-columns:320px minmax(0,1fr);grid-template-areas:"head head" "side main";
  gap:12px;padding:12px;max-width:1800px;margin:0 auto}
header{grid-area:head;display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center;background:var(--panel);
  border:1px solid var(--line);border-radius:10px;padding:8px 12px}
h1{font-size:16px;line-height:1.3;letter-spacing:-.01em}
.brand{display:flex;align-items:center;gap:8px}
.brand svg{width:22px;height:22px;flex:none}
.facts{flex:1 1 240px;min-width:0}
.title{display:block;font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.facts .soft{display:block;font-size:12px;min-height:18px}
.tools{display:flex;flex-wrap:wrap;gap:8px;align-items:center}
.tools label{display:flex;gap:6px;align-items:center;font-size:13px}
.status{display:flex;gap:6px;align-items:center;font-size:13px}
.status::before{content:"";width:9px;height:9px;border-radius:50%;background:var(--state2)}
.status[data-state=connecting]::before{background:none;border:2px solid var(--edge)}
.status[data-state=paused]::before{border-radius:0;background:var(--soft)}
.status[data-state=quiet]::before,.status[data-state=lost]::before{border-radius:0;background:var(--alarm);
  transform:rotate(45deg)}
.status[data-state=lost]{color:var(--alarm);font-weight:600}
aside{grid-area:side;min-width:0;display:flex;flex-direction:column;gap:12px}
main{grid-area:main;min-width:0;display:flex;flex-direction:column;gap:12px}
section,.panel{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:10px 12px;min-width:0;contain:layout style}
.bar{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center;justify-content:space-between;margin-bottom:8px}
h2{font-size:14px;font-weight:650}
.note{color:var(--soft);font-size:13px}
.empty{color:var(--soft);padding:8px 0;max-width:70ch}
.alert{border-color:var(--alarm);background:var(--alarmBackground)}
.pools{display:flex;flex-direction:column;gap:4px;max-height:560px;overflow:auto}
.pool{border:1px solid transparent;border-radius:8px;padding:7px 9px;cursor:pointer}
.pool:hover{background:var(--raised)}
.pool[aria-selected=true]{border-color:var(--accent);background:var(--raised);box-shadow:inset 3px 0 0 var(--accent)}
.pools:focus-visible{outline:none}
.pools:focus-visible .pool.active{outline:3px solid var(--accent);outline-offset:-1px}
.pool .top{display:flex;gap:8px;justify-content:space-between;align-items:baseline}
.pool .name{font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0}
.pool .kind{color:var(--soft);font-size:12px;flex:none}
.pool .counts{font-size:12.5px;color:var(--soft);display:flex;flex-wrap:wrap;gap:0 10px}
.pool .counts b{color:var(--text);font-weight:600}
.pool .wait{color:var(--alarm);font-weight:600}
.meter{height:8px;border-radius:4px;border:1px solid var(--edge);margin:4px 0 3px;overflow:hidden;background:var(--panel)}
.meter i{display:block;height:100%;width:0;background:var(--accent)}
.members{font-size:12px;color:var(--soft);overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:2px 12px;font-size:12px;color:var(--soft)}
.legend li{display:flex;gap:5px;align-items:center}
.swatch{width:12px;height:12px;border:1px solid var(--edge);border-radius:2px;position:relative;overflow:hidden;flex:none}
.swatch i{position:absolute;inset:auto 0 0 0}
.swatch.old::after{content:"";position:absolute;left:3px;top:3px;width:4px;height:4px;background:var(--panel)}
.swatch.held{background:repeating-linear-gradient(45deg,var(--state5) 0 2px,transparent 2px 4px)}
.swatch.untold{border-style:dashed}
.grids{display:grid;gap:12px 20px;grid-template-columns:repeat(auto-fill,minmax(min(260px,100%),1fr))}
.grids.one{grid-template-columns:minmax(0,1fr)}
.grids h3{font-size:12.5px;font-weight:600;display:flex;gap:8px;justify-content:space-between;margin-bottom:3px}
.grids>div{min-width:0}
.board{position:relative}
.board canvas{position:absolute;left:0;top:0}
.grids{position:relative}
.grids h3>:first-child{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.grids h3>:last-child{color:var(--soft);font-weight:400;flex:none}
.grid{border-radius:4px}
.grid [role=row]{position:absolute;inset:0;pointer-events:none}
.grid [role=gridcell]{position:absolute;border-radius:3px}
.grid:focus-visible [role=gridcell]{box-shadow:0 0 0 2px var(--panel),0 0 0 4px var(--accent)}
.readout{min-height:21px;margin-top:8px;font-size:13px;overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:340px;border-radius:6px;overscroll-behavior:contain}
.lanes{position:relative}
.lanes canvas{position:sticky;top:0;display:block}
.ticks{display:flex;justify-content:space-between;font-size:11.5px;color:var(--soft);margin-top:3px}
.graphs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(210px,100%),1fr));gap:12px}
.graph{min-width:0;overflow:hidden}
.graph h3{font-size:12.5px;font-weight:600;display:flex;justify-content:space-between;gap:8px}
.graph h3 span{color:var(--soft);font-weight:400}
.graph .plot{display:grid;grid-template-columns:38px minmax(0,1fr);margin-top:2px}
.graph .scale{display:flex;flex-direction:column;justify-content:space-between;align-items:flex-end;padding-right:5px;
  height:84px;font-size:11px;line-height:1;color:var(--soft)}
.graph .ticks{grid-column:2}
.uplot,.uplot *{box-sizing:border-box}
.uplot{position:relative;width:min-content;font:inherit}
.u-wrap{position:relative;user-select:none}
.u-over,.u-under,.u-axis,.uplot canvas{position:absolute}
.u-under{overflow:hidden}
.uplot canvas{display:block;width:100%;height:100%;position:relative}
.u-cursor-x,.u-cursor-y{position:absolute;left:0;top:0;pointer-events:none;z-index:2}
.u-hz .u-cursor-x{height:100%;border-right:1px dashed var(--edge)}
.u-hz .u-cursor-y{display:none}
.u-cursor-pt{position:absolute;left:0;top:0;border-radius:50%;pointer-events:none;z-index:3;border:0 solid}
.u-off,.u-select{display:none}
table{border-collapse:collapse;width:100%;min-width:780px;table-layout:fixed;font-size:13px}
th,td{text-align:start;padding:4px 10px 4px 0;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap;
  overflow:hidden;text-overflow:ellipsis}
th{font-weight:600;color:var(--soft);position:sticky;top:0;background:var(--panel);z-index:1}
td.num,th.num{text-align:end}
td.wide{white-space:normal;overflow-wrap:anywhere}
th:nth-child(1){width:17%}th:nth-child(2){width:7%}th:nth-child(3){width:11%}th:nth-child(4){width:14%}
th:nth-child(5){width:18%}th:nth-child(6){width:9%}
tr.old td:first-child{box-shadow:inset 3px 0 0 var(--alarm);padding-left:8px}
.mark{display:inline-block;width:.8em;height:.8em;margin-inline-end:6px;border:1px solid var(--edge);border-radius:2px;
  position:relative;overflow:hidden;vertical-align:-1px}
.mark i{position:absolute;inset:auto 0 0 0}
.reports li{padding:6px 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
.reports li:first-child{border-top:0}
.reports b{font-weight:600}
.reports .who{font-size:13px;color:var(--soft)}
.reports .scroll{max-height:300px}
.reports .who{display:block}
footer{grid-column:1/-1;color:var(--soft);font-size:12px;padding:0 4px}
@container (max-width:860px){
  .page{grid-template-columns:minmax(0,1fr);grid-template-areas:"head" "side" "main";padding:8px;gap:8px}
  .pools{max-height:300px;overflow:auto}
  .graphs{grid-template-columns:repeat(auto-fit,minmax(min(180px,100%),1fr))}
}
@media (prefers-reduced-motion:no-preference){button,.pool,select{transition:background-color .12s}}
@media (forced-colors:active){.meter i{background:Highlight}.pool[aria-selected=true]{outline:2px solid Highlight}}
`;
