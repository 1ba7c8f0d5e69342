"""The page of a run, as text: one file that asks for no other."""

from __future__ import annotations

from typing import Any

from graftwork.core.domain import Domain


def page(name: str, record: dict[str, Any], domain: Domain, nonce: str, most_bytes: int) -> str:
    """HTML. record: of the adapter. nonce: by which the browser knows the page's own script and style."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.PackageLoader("graftwork.core", "serving"), autoescape=True,
                                     undefined=jinja2.StrictUndefined)  # fmt: skip
    about = record["backbone"]["id"]
    return environment.get_template("page.html.jinja").render(
        name=name, example=domain.example, target=record["target"], strategy=record["strategy"], backbone=about,
        cautions=record.get("cautions", []), nonce=nonce, most_bytes=most_bytes, records=domain.name == "audio",
    )  # fmt: skip
