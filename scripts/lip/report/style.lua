--- The style sheet of a report: light and dark, from a phone's width up.
return [[
:root{color-scheme:light dark;
--paper:#fff;--card:#f6f7f9;--ink:#1c2026;--soft:#59616c;--line:#dfe3e8;--accent:#0060a8;--on-accent:#fff;
--mark:#fff3c4;
--done:#1a7f4b;--running:#0060a8;--queued:#76808c;--failed:#b3261e;--pruned:#8a5a00}
@media (prefers-color-scheme:dark){:root{
--paper:#14161a;--card:#1d2026;--ink:#e6e8eb;--soft:#a3abb6;--line:#343a43;--accent:#6cb8f5;--on-accent:#10141a;
--mark:#4a3f16;
--done:#55c98a;--running:#6cb8f5;--queued:#98a1ad;--failed:#ff8a80;--pruned:#e5b567}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
sans-serif;overflow-wrap:break-word}
header,main,footer{max-width:1180px;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
footer{padding-bottom:3rem;color:var(--soft);font-size:.875rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;line-height:1.3;margin:2.75rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line);
overflow-wrap:anywhere}
h3{font-size:1rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0;max-width:75ch}
.soft{color:var(--soft)}
a{color:var(--accent);text-underline-offset:2px}
code,.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em;
overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin-top:.75rem;font-size:.9375rem}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.25rem .5rem;z-index:9}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1rem 0;padding:0;
list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.75rem .9rem;min-width:0}
.tiles b{display:block;font-size:1.5rem;line-height:1.25;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles span{color:var(--soft);font-size:.875rem}
.bar{display:flex;height:10px;border-radius:5px;overflow:hidden;background:var(--line);gap:1px}
.bar i{display:block;min-width:2px}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.4rem 0 0;padding:0;list-style:none;font-size:.875rem;
color:var(--soft)}
.legend li::before{content:"";display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.4em;
background:var(--c)}
.scroll{overflow-x:auto;width:fit-content;max-width:100%;border:1px solid var(--line);border-radius:10px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
th,td{padding:.4rem .7rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}
td.long{white-space:normal;min-width:16rem;max-width:28rem;overflow-wrap:anywhere}
tbody tr:last-child td{border-bottom:0}
tbody tr:hover td{background:var(--card)}
thead th{background:var(--card);font-weight:600;color:var(--soft)}
.n{text-align:right}
th button{all:unset;cursor:pointer;color:inherit;font:inherit}
th button:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
th button::after{content:"\2195";opacity:.35;margin-left:.35em;display:inline-block;width:.8em}
th[aria-sort=ascending] button::after{content:"\2191";opacity:1;color:var(--accent)}
th[aria-sort=descending] button::after{content:"\2193";opacity:1;color:var(--accent)}
#table .scroll{max-height:80vh;overflow:auto;width:auto}
#table thead th{position:sticky;top:0;z-index:2}
#table td:first-child{position:sticky;left:0;background:var(--paper);z-index:1}
#table thead th:first-child{left:0;z-index:3}
#table tbody tr:hover td{background:var(--card)}
.run{all:unset;cursor:pointer;color:var(--accent);text-decoration:underline;text-underline-offset:2px}
.state{font-weight:600;color:var(--c)}
.state::before{content:"";display:inline-block;width:.55em;height:.55em;border-radius:50%;margin-right:.45em;
background:var(--c)}
.s-done{--c:var(--done)}.s-running{--c:var(--running)}.s-queued{--c:var(--queued)}.s-failed{--c:var(--failed)}
.s-pruned{--c:var(--pruned)}
.tools{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;margin:.75rem 0}
.tools label{flex:1 1 16rem;min-width:0}
.tools label span{display:block;font-size:.875rem;color:var(--soft)}
input[type=search]{width:100%;font:inherit;padding:.5rem .7rem;border:1px solid var(--soft);border-radius:8px;
background:var(--paper);
color:var(--ink)}
.chips{display:flex;flex-wrap:wrap;gap:.4rem;align-self:end}
.button,.chips button{font:inherit;font-size:.9375rem;min-height:2.5rem;padding:.25rem .8rem;border-radius:8px;
cursor:pointer;
border:1px solid var(--line);background:var(--card);color:var(--ink)}
.chips button[aria-pressed=true]{background:var(--accent);border-color:var(--accent);color:var(--on-accent)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem;margin:1rem 0}
figure{margin:0;border:1px solid var(--line);border-radius:10px;padding:.75rem;background:var(--card);min-width:0}
figure svg,figure img{display:block;width:100%;height:auto;max-width:34rem;margin:0 auto}
figure img{background:#fff;border-radius:6px}
figcaption{font-size:.875rem;color:var(--soft);margin-top:.4rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr));gap:0 1.5rem;margin:.5rem 0}
.facts div{display:flex;gap:.75rem;border-bottom:1px solid var(--line);padding:.25rem 0;min-width:0}
.facts dt{color:var(--soft);flex:0 1 auto;min-width:6rem;overflow-wrap:anywhere}
.facts dd{margin:0 0 0 auto;text-align:right;min-width:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
details{margin:.75rem 0;border:1px solid var(--line);border-radius:10px;padding:.6rem .9rem}
summary{cursor:pointer;font-weight:600}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem;overflow:auto;
max-height:18rem;
font-size:.8125rem;white-space:pre-wrap;overflow-wrap:anywhere}
.command{display:flex;gap:.6rem;align-items:flex-start}
.command code{flex:1;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.5rem .7rem;
min-width:0}
dialog{width:min(60rem,calc(100vw - 2rem));max-height:calc(100vh - 3rem);border:1px solid var(--line);
border-radius:12px;
padding:1rem 1.25rem 1.25rem;background:var(--paper);color:var(--ink);overflow:auto}
dialog::backdrop{background:#0009}
dialog h2{border:0;margin:0;padding:0}
.top{display:flex;justify-content:space-between;gap:1rem;align-items:flex-start}
[hidden]{display:none!important}
@media (max-width:30rem){header{padding-top:1.25rem}h1{font-size:1.45rem}.tiles{grid-template-columns:1fr 1fr}
.tiles b{font-size:1.25rem}
#table .scroll{max-height:70vh}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{.tools,nav,.skip{display:none}#table .scroll{max-height:none;overflow:visible}}
]]
