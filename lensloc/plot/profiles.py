"""How strongly units respond in every condition."""

import plotly.graph_objects as go

from lensloc.arguments import require_a
from lensloc.plot.common import brief, finish, titled
from lensloc.plot.labels import labels, literal, longest_line, most_lines
from lensloc.plot.showing import panels
from lensloc.plot.themes import STYLES
from lensloc.results.profiles import ResponseProfile

_LETTER, _LINE = 6.4, 17  # of the names of conditions, in pixels
_LEVEL = 8  # letters that fit below a condition
_MANY = 6  # conditions whose names may have several lines


def response_profile(profile: ResponseProfile, *, title: str | None = None) -> go.Figure:
    """Show how strongly a set of units responds in every condition, with bootstrap intervals.

    Args:
        profile: what :func:`lensloc.response_profile` measured.
        title: of the figure.

    Returns:
        One panel per score (absolute, standardised, signed), one point with interval per condition.
    """
    require_a(ResponseProfile, profile, "profile")
    scores = {
        "absolute": "mean absolute response<br>(activation units)",
        "standardised": f"mean {'signed' if profile.signed else 'absolute'} response<br>"
        "(each unit in SD)",
        "signed": "mean signed response<br>(activation units)",
    }
    table = profile.table
    many = len(table) > _MANY
    names = labels(table["condition"], *((30, 1) if many else (20, 3)))
    figure = panels(rows=1, cols=3, horizontal_spacing=0.08 if many else 0.11)
    for column, (score, label) in enumerate(scores.items(), start=1):
        middle = table[score]
        figure.add_trace(
            go.Scatter(
                x=names,
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
                text=[literal(str(name)) for name in table["condition"]],
                hovertemplate="%{text}: %{y:.3g}<br>%{customdata} stimuli<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(title={"text": label, "standoff": 4}, row=1, col=column)
    subject = " in ".join(brief(part) for part in (profile.contrast, profile.model) if part)
    what = f"Response of {profile.n_units:,} units at {profile.site} ({profile.how})"
    finish(
        figure,
        title or titled(what, subject),
        width=min(1000, 640 + 60 * len(table)),
        height=380,
    )
    # Longer names stand upright, so that their lines do not run into each other.
    longest = longest_line(names)
    upright = many or most_lines(names) > 1 or longest > 3 * _LEVEL
    figure.update_xaxes(tickangle=-90 if upright else -30)
    if upright:
        below = int(_LETTER * longest)
        width = max(figure.layout.width, 240 + 3 * _LINE * (most_lines(names) + 1) * len(table))
        figure.update_layout(height=figure.layout.height + below - 40, width=min(1400, width))
    return figure
