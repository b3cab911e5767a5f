"""The house style that all panels, variables and links share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "miniweb"

# A threshold and the colour from there on; None is the base.
Steps = Sequence[tuple[float | None, str]]
PLAIN: Steps = ((None, "text"),)
GOOD: Steps = ((None, "green"),)
DOWN_UP: Steps = ((None, "red"), (1, "green"))
NONE_WANTED: Steps = ((None, "green"), (1, "red"))
UP_OR_DOWN = {"0": ("down", "red"), "1": ("up", "green")}


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str = ""


def _target(query: Query, number: int, *, instant: bool, rows: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .editor_mode(QueryEditorMode.CODE)
        .format(PromQueryFormat.TABLE if rows else PromQueryFormat.TIME_SERIES)
    )
    return target.instant() if instant else target.range()


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


def _names(names: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    results = {
        value: model.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(names.items())
    }
    return [model.ValueMap(options=results)] if results else []


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    low: float | None = 0,
    high: float | None = None,
    steps: Steps | None = None,
    stacked: bool = False,
    bars: bool = False,
    below: str | None = None,
) -> timeseries.Panel:
    """Values over time. Series whose names match `below` are drawn below the axis."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets([_target(query, number, instant=False, rows=False) for number, query in enumerate(queries)])
        .span(width)
        .height(height)
        .unit(unit)
        .thresholds(_thresholds(steps or GOOD))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .draw_style(options.GraphDrawStyle.BARS if bars else options.GraphDrawStyle.LINE)
        .line_width(1 if stacked or bars else 2)
        .fill_opacity(60 if bars else 30 if stacked else 10)
        .show_points(options.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if steps:
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(options.GraphTresholdsStyleMode.LINE))
    if below:
        panel = panel.override_by_regexp(below, [model.DynamicConfigValue("custom.transform", "negative-Y")])
    elif low is not None:
        panel = panel.min(low)
    return panel if high is None else panel.max(high)


def figure(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    steps: Steps = PLAIN,
    names: Mapping[str, tuple[str, str]] | None = None,
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    missing: str = "no data",
    leads_to: str | None = None,
    each: str | None = None,
) -> stat.Panel:
    """The current value, as a number or, with `names`, as a word; repeated for `each` value of that variable."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets([_target(Query(expr), 0, instant=True, rows=False)])
        .span(width)
        .height(height)
        .unit(unit)
        .no_value(missing)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .mappings(_names(names or {}))
        .color_mode(options.BigValueColorMode.BACKGROUND if names else options.BigValueColorMode.VALUE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .text_mode(options.BigValueTextMode.AUTO)
        .justify_mode(options.BigValueJustifyMode.AUTO)
        .orientation(options.VizOrientation.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    if leads_to:
        address = f"/d/{leads_to}?${{__url_time_range}}&${{__all_variables}}"
        link = dashboard.DashboardLink("Details").type(model.DashboardLinkType.LINK).url(address)
        panel = panel.links([link])
    return panel.repeat(each).repeat_direction("h") if each else panel


@dataclass(frozen=True)
class Column:
    """A label or, with an expression, a value."""

    title: str
    expr: str = ""
    label: str = ""
    unit: str = "none"
    names: Mapping[str, tuple[str, str]] | None = None


def rows(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 10,
    sort: str,
    descending: bool = False,
    missing: str = "none",
) -> table.Panel:
    """A table with one row per label set, joined from the columns' expressions; other labels are left out."""
    values = [column for column in columns if column.expr]
    # The value of a single query is called Value, those of several queries Value #A, Value #B and so on.
    letters = [chr(ord("A") + number) for number in range(len(values))]
    fields = ["Value"] if len(values) == 1 else [f"Value #{letter}" for letter in letters]
    field = dict(zip((column.title for column in values), fields, strict=True))
    names = [field.get(column.title, column.label) for column in columns]
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets([_target(Query(column.expr), number, instant=True, rows=True) for number, column in enumerate(values)])
        .span(width)
        .height(height)
        .unit("none")
        .no_value(missing)
        .thresholds(_thresholds(PLAIN))
        .show_header(True)
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": names}})
        )
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {},
                    "indexByName": {name: number for number, name in enumerate(names)},
                    "renameByName": {name: column.title for name, column in zip(names, columns, strict=True)},
                },
            )
        )
    )
    for column in columns:
        properties = [model.DynamicConfigValue("unit", column.unit)] if column.unit != "none" else []
        if not column.expr:
            # What the panel says of an empty table would otherwise be in every empty cell.
            properties.append(model.DynamicConfigValue("noValue", "–"))
        if column.names:
            properties.append(model.DynamicConfigValue("mappings", _names(column.names)))
            properties.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        if properties:
            panel = panel.override_by_name(column.title, properties)
    return panel


def chooser(
    name: str, label: str, query: str, all_value: str | None = ".+", hidden: bool = False
) -> dashboard.QueryVariable:
    """A variable with the values of a label, by default all. Without `all_value`, All means those listed."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
    if all_value:
        variable = variable.all_value(all_value)
    return variable.hide(model.VariableHide.HIDE_VARIABLE) if hidden else variable


def servers(metric: str, all_value: str = ".+") -> dashboard.QueryVariable:
    return chooser("instance", "Server", f"label_values({metric}, instance)", all_value)


def interval() -> dashboard.IntervalVariable:
    """The interval over which counts and quantiles are calculated."""
    lengths = ["1m", "5m", "15m", "1h", "6h", "1d"]
    return (
        dashboard.IntervalVariable("interval")
        .label("Interval")
        .values(",".join(lengths))
        .auto(False)
        .options([model.VariableOption(selected=length == "5m", text=length, value=length) for length in lengths])
        .current(model.VariableOption(selected=True, text="5m", value="5m"))
    )


def board(
    name: str,
    title: str,
    description: str,
    variables: Sequence[Builder[model.VariableModel]],
    panels: Sequence[Any],
) -> dashboard.Dashboard:
    """A dashboard; a string among its panels starts a row with that title."""
    result = (
        dashboard.Dashboard(title)
        .uid(f"miniweb-{name}")
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .timezone("browser")
        .time("now-3h", "now")
        .variables(list(variables))
        .link(
            dashboard.DashboardLink("Dashboards")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for number, panel in enumerate(panels, start=1):
        if isinstance(panel, str):
            result = result.with_row(dashboard.Row(panel).id(number))
        else:
            result = result.with_panel(panel.id(number))
    return result
