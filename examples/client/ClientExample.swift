import KVClient

/// Keeps a few settings in a cluster: `client-example 127.0.0.1:8080`, with any of its nodes, or several.
@main struct ClientExample {
  static func main() async throws {
    let seeds = try CommandLine.arguments.dropFirst().map { try NodeAddress(parsing: $0) }
    guard !seeds.isEmpty else { return print("usage: client-example HOST:PORT…") }
    let client = KVClient(seeds: seeds)

    // To the leader of the key's shard, whichever node that is.
    try await client.put("colour", "blue")
    let colour = try await client.get("colour")
    print("colour is", colour?.text ?? "absent")

    // Only if nobody has changed it since; then only if there is none.
    do throws(KVClientError) {
      if let colour { try await client.put("colour", "red", if: .matches(colour.etag)) }
      try await client.put("colour", "green", if: .absent)
    } catch {
      guard error.isUnmetCondition else { throw error }
      print("there is a colour already")
    }

    // From a replica, but nothing older than what this session has written.
    let session = KVSession()
    try await client.put("size", "large", ttlSeconds: 60, session: session)
    let size = try await client.get("size", readFrom: .replicas, session: session)
    print("size is", size?.text ?? "absent")

    // One request for each shard; and the keys of all shards, in order.
    let both = try await client.getMany(["colour", "size"].map { Array($0.utf8) })
    print("together:", both.map { $0?.text ?? "absent" })
    let page = try await client.list(prefix: Array("colo".utf8))
    print("keys:", page.keys.map { String(decoding: $0.key, as: UTF8.self) })

    await client.close()
  }
}
