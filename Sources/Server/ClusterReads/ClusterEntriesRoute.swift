import NIOCore
import Sharding

/// `GET /kv?key=a&key=b&scope=cluster`: the values of keys of several shards, in the order asked for.
extension LoopState {
  func clusterEntries(
    _ keys: [[UInt8]], _ cluster: Cluster, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    if let refusal = clusterOptions(query) { return .now(refusal) }
    let read = ClusterRead(
      node: node, cluster: cluster, query, waitMilliseconds: timeoutMilliseconds(query),
      without: ["scope", "key"])
    let most = answerBytesMax
    return clusterRead(read, lane) { (read) throws(ClusterRead.Refusal) in
      try await Self.entries(keys, read, bytesMax: most)
    }
  }

  func writeForeign(_ key: [UInt8], _ shard: Int) {
    body.writeStaticString("{\"error\":\"key of another shard\",")
    key.withUnsafeBytes { JSONText.writeMember("key", $0, into: &body) }
    body.writeString(",\"shard\":\(shard)}")
  }

  private static func entries(
    _ keys: [[UInt8]], _ read: ClusterRead, bytesMax: Int
  ) async throws(ClusterRead.Refusal) -> ClusterAnswer {
    let map = read.cluster.map
    // By shard, where in the request its keys are.
    var places: [Int: [Int]] = [:]
    for (place, key) in keys.enumerated() {
      places[key.withUnsafeBytes { map.shard(of: $0) }, default: []].append(place)
    }
    let shards = places.keys.sorted()
    let answers = try await read.ask(
      shards.map { shard in
        let query = places[shard]!.map { "key=\(PercentEncoding.encode(keys[$0]))" }
        return (shard, query.joined(separator: "&"))
      })
    var lines = [ArraySlice<UInt8>](repeating: [], count: keys.count)
    var bytes = 0
    for (shard, answer) in zip(shards, answers) {
      let text = Array(answer.body.readableBytesView)
      let found = text.split(separator: UInt8(ascii: "\n"))
      guard found.count == places[shard]!.count else {
        throw ClusterRead.Refusal(
          status: .badGateway,
          reason: "shard \(shard) (\(map.shards[shard].name)): the answer is not of these keys")
      }
      for (place, line) in zip(places[shard]!, found) { lines[place] = line }
      bytes += text.count
    }
    guard bytes <= bytesMax else {
      throw ClusterRead.Refusal(
        status: .contentTooLarge,
        reason: "the values are larger than \(bytesMax) bytes together: ask for fewer")
    }
    var body = ByteBuffer()
    body.reserveCapacity(bytes)
    for line in lines {
      body.writeBytes(line)
      body.writeStaticString("\n")
    }
    return ClusterAnswer(body: body)
  }
}
