"""Pages for people: an appraisal, and what a verifier service is and trusts. HTML that needs nothing from anywhere.

What stands on a page is a *document* first, plain JSON that `report` makes of an appraisal and that a service can keep;
`rendering` makes the page of it, alone with Jinja2 (extra `service`). So the page of a service and the page that
`twocvm appraise --html` writes are one page, but for the paragraph that says who made it.
"""
