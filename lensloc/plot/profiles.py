"""How strongly units respond in every condition."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lensloc.plot.common import finish
from lensloc.plot.themes import STYLES
from lensloc.profiles import ResponseProfile


def response_profile(profile: ResponseProfile, *, title: str | None = None) -> go.Figure:
    """Show how strongly a set of units responds in every condition, with bootstrap intervals.

    Args:
        profile: what :func:`lensloc.response_profile` measured.
        title: of the figure.

    Returns:
        One panel a score (absolute, standardised, signed), a point and its interval a condition.
    """
    panels = {
        "absolute": "mean absolute response<br>(activation units)",
        "standardised": f"mean {'signed' if profile.signed else 'absolute'} response<br>"
        "(each unit in SD)",
        "signed": "mean signed response<br>(activation units)",
    }
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.11)
    table = profile.table
    for column, (score, label) in enumerate(panels.items(), start=1):
        middle = table[score]
        figure.add_trace(
            go.Scatter(
                x=table["condition"],
                y=middle,
                error_y={
                    "array": table[f"{score}_high"] - middle,
                    "arrayminus": middle - table[f"{score}_low"],
                    "thickness": 1.5,
                    "width": 6,
                },
                mode="markers",
                marker={"size": 10, "color": STYLES[1]["color"]},
                customdata=table["stimuli"],
                hovertemplate="%{x}: %{y:.3g}<br>%{customdata} stimuli<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(title={"text": label, "standoff": 4}, row=1, col=column)
    finish(
        figure,
        title or f"Response of {profile.n_units} units at {profile.site} ({profile.how})",
        width=min(1000, 640 + 60 * len(table)),
        height=380,
    )
    figure.update_xaxes(tickangle=-30)
    return figure
