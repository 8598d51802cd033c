"""The demo page in a real browser, in front of the sandbox and behind the sidecar."""

import shutil
from collections.abc import AsyncIterator

import pytest

from proxy.configuration import load
from proxy.lookup import carried_directory
from proxy.sandbox import Sandbox
from proxy.sandbox_discord import user_of
from proxy.sandbox_faults import Fault, Faults
from proxy.sidecar import Sidecar
from tests.origins import until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

from playwright.async_api import Page, async_playwright, expect  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The stand-ins behind the page."""
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def demo_url(sandbox: Sandbox) -> AsyncIterator[str]:
    """The page's address at a sidecar in front of the sandbox."""
    configuration = load(
        carried_directory() / "proxy.yaml",
        {
            "ACTIVITY_URL": sandbox.activity_url,
            "API_GATEWAY_URL": sandbox.gateway_url,
            "DISCORD_API_URL": sandbox.discord_url,
            "ENABLE_DIRECT_KALTURA": "true",
            "KALTURA_API_ENDPOINT": sandbox.kaltura.url,
            "KALTURA_PARTNER_ID": sandbox.kaltura.partner_id,
            "KALTURA_ADMIN_SECRET": sandbox.kaltura.secret,
        },
        listen="127.0.0.1:0",
        admin="127.0.0.1:0",
    )
    async with Sidecar(configuration, drain=0, grace=1) as sidecar:
        yield f"http://{sidecar.listen}/"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page that fails its test at a script's error, or at a request for another machine's files."""
    async with async_playwright() as browsers:
        browser = await browsers.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = await browser.new_page()
        page.set_default_timeout(10_000)
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(("http://127.0.0.1:", "data:")) else trouble.append(asked.url)
            ),
        )
        page.on(
            "console",
            lambda said: trouble.append(said.text) if "Content Security" in said.text else None,
        )
        yield page
        await browser.close()
    assert trouble == []


async def came_from(page: Page, place: str, source: str) -> None:
    """Wait until the badge there names that source."""
    await expect(page.locator(f"{place} .badge")).to_have_text(source, timeout=10_000)


async def test_without_a_sidecar_the_page_says_so(sandbox: Sandbox, page: Page) -> None:
    """At the Activity server itself the answers are its own mocks, and there is no play URL."""
    await page.goto(sandbox.activity_url)
    await came_from(page, "#library-origin", "direct")
    await expect(page.locator(".card")).to_have_count(10)
    await expect(page.locator("#path-text")).to_have_text("Direct, no sidecar")
    await page.locator(".card").nth(2).click()
    await expect(page.locator("#detail-title")).to_have_text("Sample Video (mock_video_3)")
    await page.get_by_role("button", name="Get a session").click()
    await expect(page.locator("[data-result=Session] code")).to_contain_text("mock_ks_mock_video_3_")
    await page.get_by_role("button", name="Get a play URL").click()
    await came_from(page, '[data-result="Play URL"]', "error")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator(".entry").first).to_contain_text("tokens, but no more")
    await expect(page.locator("#who-text")).to_have_text("Nobody signed in")


async def search(page: Page, words: str) -> None:
    """Search for something."""
    await page.get_by_label("Search videos").fill(words)
    await page.keyboard.press("Enter")


async def test_the_page_pages_searches_and_opens(demo_url: str, page: Page) -> None:
    """Behind the sidecar the list, a search, a video, its session and its play URL are live."""
    await page.goto(demo_url)
    await came_from(page, "#library-origin", "gateway")
    await expect(page.locator("#path-text")).to_have_text("Through the sidecar")
    await expect(page.locator(".card-title").first).to_have_text("Lecture 95: cats and networks")
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(".card-title").first).to_have_text("Lecture 83: cats and networks")
    await search(page, "dogs")
    await expect(page.locator(".card-title").first).to_have_text("Lecture 94: dogs and networks")
    await page.locator(".card").first.click()
    await came_from(page, "#detail-origin", "gateway")
    await expect(page.locator("#detail-fields")).to_contain_text("1_e0000094")
    for button, answer, words in (
        ("Get a session", "Session", "djJ8"),
        ("Get a play URL", "Play URL", "embedPlaykitJs"),
    ):
        await page.get_by_role("button", name=button).click()
        await expect(page.locator(f'[data-result="{answer}"] code')).to_contain_text(words)
        await came_from(page, f'[data-result="{answer}"]', "gateway")
    await expect(page.locator(".entry").first).to_contain_text("X-Request-Id: ")


async def test_the_switch_takes_the_gateway_away_and_back(
    demo_url: str, sandbox: Sandbox, page: Page
) -> None:
    """With the gateway off what was seen is kept, and what was not is Kaltura's, or else a sample."""
    await page.goto(demo_url)
    await came_from(page, "#library-origin", "gateway")
    switch = page.get_by_role("switch", name="Gateway")
    await switch.click()
    await expect(page.locator("#gateway-text")).to_have_text("Gateway offline")
    await came_from(page, "#library-origin", "cache")
    await search(page, "cats")
    await came_from(page, "#library-origin", "kaltura")
    await expect(page.locator(".entry").first).to_contain_text("Proxy-Status: ")
    await page.get_by_role("switch", name="Kaltura itself").click()
    await came_from(page, "#library-origin", "canned")
    assert not sandbox.kaltura.is_online
    assert not sandbox.gateway.is_online
    await switch.click()
    await expect(page.locator("#gateway-text")).to_have_text("Gateway online")
    await search(page, "dogs")
    await came_from(page, "#library-origin", "gateway")


async def test_faults_are_set_and_shown(demo_url: str, sandbox: Sandbox, page: Page) -> None:
    """A chosen fault is put in place, found again after a reload, and taken back."""
    await page.goto(demo_url)
    await came_from(page, "#library-origin", "gateway")
    await page.get_by_role("radio", name="HTML for JSON").click()
    await expect(page.locator("#gateway-text")).to_have_text("Gateway: html for json")
    await search(page, "never asked before")
    await came_from(page, "#library-origin", "kaltura")
    assert sandbox.gateway.faults == Faults(routes=Fault(answer="html"))
    await page.reload()
    await expect(page.get_by_role("radio", name="HTML for JSON")).to_be_checked()
    await page.get_by_role("radio", name="None").click()
    await expect(page.locator("#gateway-text")).to_have_text("Gateway online")
    assert sandbox.gateway.faults == Faults()


async def test_answers_enter_the_page_as_text(sandbox: Sandbox, page: Page) -> None:
    """Markup in a search, which the answers repeat, is shown and not obeyed."""
    await page.goto(sandbox.activity_url)
    await page.get_by_label("Search videos").fill("<img src=x onerror=alert(1)>")
    await page.keyboard.press("Enter")
    await expect(page.locator(".card-title").first).to_have_text(
        'Sample Video 1 - "<img src=x onerror=alert(1)>"'
    )
    assert await page.locator("main img").count() == 0


async def test_the_page_shows_who_is_signed_in(demo_url: str, sandbox: Sandbox, page: Page) -> None:
    """Play URLs are the viewer's who signed in, after a reload too; then another's; then the service's."""

    async def plays_as(words: str) -> None:
        await page.get_by_role("button", name="Get a play URL").click()
        await expect(page.locator('[data-result="Play URL"]')).to_contain_text(words)

    await page.goto(demo_url)
    await page.locator(".card").first.click()
    await plays_as("made for the service")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#who-text")).to_have_text("Signed in: Alice")
    await plays_as(f"made for the Discord user {user_of('alice').id}")
    await page.reload()
    await expect(page.locator("#who-text")).to_have_text("Signed in: Alice")
    await page.locator(".card").first.click()
    await plays_as(f"made for the Discord user {user_of('alice').id}")
    await page.get_by_label("Discord code").select_option("bob")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#who-text")).to_have_text("Signed in: Bob")
    await plays_as(f"made for the Discord user {user_of('bob').id}")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("#who-text")).to_have_text("Nobody signed in")
    await plays_as("made for the service")


async def test_a_sign_in_without_discord_says_why(demo_url: str, sandbox: Sandbox, page: Page) -> None:
    """With Discord off nobody is signed in; without its tokens the viewer is known all the same."""
    await page.goto(demo_url)
    await came_from(page, "#library-origin", "gateway")
    await page.get_by_role("switch", name="Discord").click()
    await expect(page.get_by_role("switch", name="Discord")).not_to_be_checked()
    await until(lambda: not sandbox.discord.is_online)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#viewer-note")).to_contain_text("(discord_unreachable)")
    await expect(page.locator("#who-text")).to_have_text("Nobody signed in")
    await page.get_by_role("switch", name="Discord").click()
    await page.get_by_role("radio", name="No tokens").click()
    await expect(page.locator("#gateway-text")).to_have_text("Gateway: no tokens")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#viewer-note")).to_contain_text("(gateway_error)")
    await expect(page.locator("#who-text")).to_have_text("Signed in: Alice")
