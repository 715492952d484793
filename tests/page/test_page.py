"""The page of the admin listener in a real browser, on a real broker and memcached.

Each test leaves screenshots in target/page, for people to look at."""

import signal
import unittest

from browser import Browser
from deployment import ROOT, Deployment

SCREENSHOTS = ROOT / "target/page"
# Names are anybody's words.
INJECTED = "<img src=x onerror=alert(1)>"
ODD_NAMES = [INJECTED, "  spaces  at both ends  ", "ünïcødé/锁/🔒", "x" * 128, "a&amp;b", "\u202egnp.exe", "${1+1}"]
WIDE, NARROW = 1280, 400


class PageTest(unittest.TestCase):
    """A browser, and for each test a deployment whose page it looks at."""

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.open("about:blank")
        self.browser.complaints()
        self.browser.resize(WIDE, 800)

    def start(self, **options):
        """Starts the deployment that is looked at."""
        self.deployment = Deployment(**options)
        self.addCleanup(self.deployment.close)
        return self.deployment

    def look(self):
        """Opens the page."""
        self.browser.open(self.deployment.page)
        self.browser.eventually("the page is alive", lambda: "updated" in self.browser.text("#updated"))

    def rows(self, section):
        """Returns the rows of a table by their names. A name has its row's other cells."""
        return {row[0]: row[1:] for row in self.browser.rows(section)}

    def screenshots(self, name):
        """Takes pictures in both widths and both colours, and looks that nothing needs scrolling sideways."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width in (WIDE, NARROW):
            self.browser.resize(width, 800)
            for scheme in ("light", "dark"):
                self.browser.prefer(scheme)
                self.browser.screenshot(SCREENSHOTS / f"{name}-{width}-{scheme}.png")
            needed = self.browser.run("return document.documentElement.scrollWidth")
            self.assertLessEqual(needed, width, "it scrolls sideways")
        self.browser.resize(WIDE, 800)

    def assert_quiet(self):
        """Looks that the browser had nothing to complain of."""
        self.assertEqual(self.browser.complaints(), [])

    def test_locks_and_waiters_with_any_names(self):
        deployment, browser = self.start(), self.browser
        holders = [deployment.hold(name, f"--owner={name}") for name in ODD_NAMES]
        lingers = deployment.hold("lingers", "--linger=10m")
        deployment.wait(lambda: len(deployment.json("locks.json")["locks"]) == len(holders) + 1)
        deployment.end(lingers)
        waiters = []
        for place in (1, 2):
            waiters.append(deployment.hold(INJECTED, "--wait=forever", f"--owner=waiter {place}"))
            deployment.wait(lambda: len(deployment.json("waiters.json")["waiters"]) == len(waiters))
        self.look()

        locks = browser.eventually(
            "all are there", lambda: (rows := self.rows("locks")).get("lingers", [""])[0] == "Lingering" and rows
        )
        self.assertEqual(set(locks), {*ODD_NAMES, "lingers"})
        for name in ODD_NAMES:
            state, owner = locks[name][:2]
            self.assertEqual((state, owner), ("Held", name))
        self.assertRegex(locks["lingers"][3], r"^(10|9) m( \d+ s)?$")
        waiting = browser.eventually("the waiters are there", lambda: browser.rows("waiting"))
        self.assertEqual([row[:3] for row in waiting], [[INJECTED, str(n), f"waiter {n}"] for n in (1, 2)])
        shards = self.rows("shards")
        self.assertEqual([row[0] for row in shards.values()], ["Open"])

        # Names are texts, and nothing else.
        self.assertEqual(browser.run("return document.querySelectorAll('main img').length"), 0)
        self.assert_quiet()
        heads = browser.run(
            "return [...document.querySelectorAll('#locks thead th')].map((it) => [it.innerText, it.scope])"
        )
        self.assertEqual(heads[0], ["Lock", "col"])
        self.assertEqual(browser.run("return document.querySelector('#locks tbody th').scope"), "row")
        self.screenshots("locks")

        # Ages grow between two answers, and a release shows by itself.
        grown = browser.run("return document.querySelector('#waiting tbody td:last-child').innerText")
        browser.eventually("it waits for longer", lambda: browser.rows("waiting")[0][3] != grown)
        deployment.end(holders[0])
        browser.eventually("the first waiter has it", lambda: self.rows("locks")[INJECTED][1] == "waiter 1")
        browser.eventually("the second is the first", lambda: browser.rows("waiting")[0][1:3] == ["1", "waiter 2"])
        deployment.end(holders[3])
        browser.eventually("a lock is gone", lambda: ODD_NAMES[3] not in self.rows("locks"))
        self.assert_quiet()

    def test_a_search_finds_what_is_not_loaded(self):
        deployment, browser = self.start(), self.browser
        server = f"--server=http://{deployment.address}"
        deployment.start([deployment.program, "bench", "hold", "--locks=1200", "--duration=10m", server])
        deployment.hold("zebra/1", "--owner=somebody")
        deployment.hold("anteater")
        deployment.wait(lambda: deployment.json("status.json")["held"] == 1202, seconds=90)
        self.look()
        browser.eventually("500 of them are there", lambda: len(self.rows("locks")) == 500)
        # A list is shown for a while before the next one is made.
        known = "the first 500 by name of 1,202"
        browser.eventually("all are counted", lambda: known in browser.text("#locks .note"))
        self.assertEqual(browser.text("#locks-count"), "1,202")
        self.screenshots("many")

        browser.type("#search", "EATER")
        browser.eventually("rows that have it are left", lambda: list(self.rows("locks")) == ["anteater"])
        # None of those that are loaded.
        browser.type("#search", "zebra")
        browser.eventually("the broker was asked", lambda: list(self.rows("locks")) == ["zebra/1"])
        browser.type("#search", "no such lock")
        browser.eventually("it says so", lambda: "Nothing" in browser.text("#locks .note"))
        self.screenshots("nothing-found")
        browser.type("#search", "")
        browser.eventually("all are back", lambda: len(self.rows("locks")) == 500)

        browser.click("#more")
        browser.eventually("all of them are there", lambda: len(self.rows("locks")) == 1202)
        self.assertEqual(browser.text("#locks .note"), "")
        self.assert_quiet()

    def test_a_hidden_page_asks_for_no_lists(self):
        deployment, browser = self.start(), self.browser
        self.look()
        browser.run("""
            window.hidden = [];
            // Before the page hears of it.
            document.addEventListener('visibilitychange', () => window.hidden.push([document.hidden, performance.now()]), true);
        """)
        here = browser.ask("GET", "/window")
        other = browser.ask("POST", "/window/new", {"type": "tab"})["handle"]
        browser.ask("POST", "/window", {"handle": other})
        deployment.hold("while nobody looks")
        deployment.wait(lambda: deployment.json("status.json")["held"] == 1)
        # As long as two polls, of what is not to come.
        browser.run("return new Promise((resolve) => setTimeout(resolve, 5_000))")
        browser.ask("POST", "/window", {"handle": here})
        browser.devtools("Page.bringToFront")
        browser.eventually("it asks again", lambda: "while nobody looks" in self.rows("locks"))
        times = browser.run("""
            const asked = performance.getEntriesByType('resource').filter((it) => it.name.includes('/locks.json'));
            return [window.hidden, asked.map((it) => it.startTime)];
        """)
        (is_hidden, begin), (is_still_hidden, end) = times[0][:2]
        self.assertEqual((is_hidden, is_still_hidden), (True, False))
        self.assertGreater(end - begin, 4_000)
        self.assertEqual([time for time in times[1] if begin + 100 < time < end], [])

    def test_a_shard_that_dies_and_comes_back(self):
        # Long enough to be seen to count down.
        quarantine = 10
        deployment, browser = self.start(max_ttl=quarantine), self.browser
        self.look()
        address = f"127.0.0.1:{deployment.memcached_port}"

        def state():
            return self.rows("shards")[address]

        browser.eventually("it is open", lambda: state()[0] == "Open")
        self.assertEqual(browser.text("#banner"), "")
        self.assertEqual(browser.text("#state"), "Ready")

        deployment.memcached.kill()
        deployment.memcached.wait()
        browser.eventually("it is away", lambda: state()[0] == "Connecting" and len(state()[2]) > 1)
        browser.eventually("nobody can get a lock", lambda: "No shard is open" in browser.text("#banner"))
        browser.eventually("the list says that it is old", lambda: "Not up to date" in browser.text("#locks .note"))
        self.screenshots("away")

        deployment.start_memcached()
        browser.eventually("it is closed", lambda: state()[0] == "Closed" and state()[1].endswith(" s"))
        seen = {state()[1]}
        self.screenshots("closed")
        browser.eventually("it counts down", lambda: seen.add(state()[1]) or len(seen) >= 3)
        self.assertLessEqual({int(text.split()[0]) for text in seen if text.endswith(" s")}, set(range(quarantine + 1)))
        browser.eventually("it opens", lambda: state()[0] == "Open" and browser.text("#banner") == "")
        browser.eventually("the list is new", lambda: browser.text("#locks .note") == "None.")

    def test_a_broker_that_drains_and_ends(self):
        deployment, browser = self.start(), self.browser
        self.look()
        # A client that does not move: there is no other broker.
        deployment.hold("stays")
        browser.eventually("it is there", lambda: "stays" in self.rows("locks"))
        deployment.broker.send_signal(signal.SIGTERM)
        browser.eventually("it says that it drains", lambda: "drains" in browser.text("#banner"))
        self.assertEqual(browser.text("#state"), "Draining")
        self.assert_quiet()
        self.screenshots("draining")
        deployment.broker.kill()
        browser.eventually("it says that nothing answers", lambda: "does not answer" in browser.text("#banner"))
        self.assertEqual(browser.run("return document.body.className"), "stale")
        self.screenshots("gone")

    def test_other_names_of_the_machine(self):
        """What a page elsewhere could have made to lead here."""
        deployment, browser = self.start(), self.browser
        evil = deployment.page.replace("127.0.0.1", "evil.localhost")
        browser.open(evil)
        self.assertIn("--admin-host=evil.localhost", browser.text("body"))
        # A page of another origin cannot read the data.
        browser.open(self.start().page)
        script = "return fetch(arguments[0]).then((it) => it.text(), (error) => `refused: ${error}`)"
        self.assertIn("refused", browser.run(script, deployment.page + "locks.json"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
