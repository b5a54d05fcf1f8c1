import ArgumentParser
import Server

/// What becomes of requests for other shards.
struct RoutingOptions: ParsableArguments {
  @Option(
    help:
      "Requests that another node is to answer are handed on to it, or redirected: proxy, redirect."
  )
  var routing = RoutingMode.proxy

  @Option(help: "Which nodes of other shards answer reads: leader, replicas, any.")
  var readFrom = ReadSource.leader
}
