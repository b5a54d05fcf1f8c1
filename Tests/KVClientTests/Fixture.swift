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

/// A value that a test and its servers share.
final class Locked<Value: Sendable>: Sendable {
  let mutex: Mutex<Value>

  init(_ value: Value) { mutex = Mutex(value) }
}
