import KVClient
import Synchronization
import Testing

/// Runs `body` with a cluster and a client that knows its first node, and ends both.
func withCluster(
  shards: Int = 1, nodes: Int = 3, isConfigured: Bool = true,
  _ change: (inout KVClientOptions) -> Void = { _ in },
  body: (FakeCluster, KVClient) async throws -> Void
) async throws {
  let cluster = try await FakeCluster(
    shards: shards, nodesPerShard: nodes, isConfigured: isConfigured)
  var options = KVClientOptions()
  change(&options)
  let client = KVClient(seeds: [cluster.nodes[0][0].address], options: options)
  var failure: (any Error)?
  do {
    try await body(cluster, client)
  } catch {
    failure = error
  }
  await client.close()
  try await cluster.stop()
  if let failure { throw failure }
}

extension KVClient {
  /// Waits until it has seen that all its connections are closed.
  func knowsNoConnection() async throws {
    let end = ContinuousClock.now + .seconds(5)
    while pool.openConnections > 0 {
      try #require(ContinuousClock.now < end)
      try await Task.sleep(for: .milliseconds(1))
    }
  }
}

/// A value that a test and its servers share.
final class Locked<Value: Sendable>: Sendable {
  let mutex: Mutex<Value>

  init(_ value: Value) { mutex = Mutex(value) }
}
