"""The host side of the bench: starts its container, reads what was measured, shows it as a table, a page and a text.

The container (room ``bench/``) runs servers and load; it only measures. What the figures mean is decided here: medians,
spread, ratios pair by pair, and which goals are met. So a kept run can be shown again, and judged anew, at any time.

    catalogue   what can be measured, and who takes part
    run         what the container says, as data that can be kept in a file
    summary     medians, spread and ratios
    goals       what forklab promises about its speed
    conduct     a run from beginning to end
    container   the one container: started, read line by line, removed whatever happens
    progress    what a person sees meanwhile
    terminal    the tables
    charts      the pictures
    files       bench.json, bench.html, performance.md
"""
