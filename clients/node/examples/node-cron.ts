/**
 * Runs a task every second, in one of all the programs that run this.
 *
 *     node node-cron.js [http://127.0.0.1:28551]
 */
import { connect } from "lockbroker";
import { runCoordinator } from "lockbroker/node-cron";
import { schedule } from "node-cron";

const client = connect(process.argv[2]);
const coordinator = runCoordinator(client, { owner: `pid ${process.pid}` });

schedule(
  "* * * * * *",
  (context) => {
    const lock = coordinator.lockOf(context);
    console.log(context.date.toISOString(), "with the token", lock?.fencingToken);
  },
  { name: "tick", distributed: true, runCoordinator: coordinator, distributedLease: 30_000 },
);
