import Engine
import NIOCore
import Sharding

/// `GET /kv?prefix=…&scope=cluster`: a page of the keys of all shards.
extension LoopState {
  func clusterPage(
    _ request: PageRequest, _ cluster: Cluster, _ query: Parameters, _ lane: StandardLane
  ) -> Handling {
    if let refusal = clusterOptions(query) { return .now(refusal) }
    let read = ClusterRead(
      node: node, cluster: cluster, query, waitMilliseconds: timeoutMilliseconds(query),
      without: ["scope", "after", "limit"])
    let limit = request.limit
    let first = PercentEncoding.encode(query.first("after") ?? [])
    return clusterRead(read, lane) { (read) throws(ClusterRead.Refusal) in
      try await Self.page(read, limit: limit, after: first)
    }
  }

  /// Judges what a shard would judge, and what is no read of the cluster.
  func clusterOptions(_ query: Parameters) -> Answer? {
    guard query.first("min_version") == nil else {
      return badOption("min_version is of one shard: ask that one, without scope")
    }
    if case .refused(let answer) = readOptions(query, isRead: true) { return answer }
    return nil
  }

  private static func page(
    _ read: ClusterRead, limit: Int, after first: String
  ) async throws(ClusterRead.Refusal) -> ClusterAnswer {
    let map = read.cluster.map
    var merge = PageMerge(shards: map.shards.count, limit: limit) { key, shard in
      key.withUnsafeBytes { map.shard(of: $0) } == shard
    }
    while !merge.isDone {
      let questions = merge.questions
      let answers = try await read.ask(
        questions.map { question in
          let after = question.after.isEmpty ? first : question.after
          return (question.shard, "limit=\(question.limit)&after=\(after)")
        })
      for (question, answer) in zip(questions, answers) {
        do throws(PageMerge.Malformed) {
          try merge.add(
            Array(answer.body.readableBytesView), next: answer.headers.first(name: "X-KV-Next"),
            of: question.shard)
        } catch {
          throw ClusterRead.Refusal(
            status: .badGateway,
            reason: "shard \(question.shard) (\(map.shards[question.shard].name)): \(error)")
        }
      }
      merge.merge()
    }
    return ClusterAnswer(body: merge.body, next: merge.next)
  }
}
