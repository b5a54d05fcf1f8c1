import KVClient
import NIOCore
import Sharding

/// Finds out which nodes a run is to send its requests to.
struct ClusterSurvey: Sendable {
  private static let probeSeconds: Int64 = 5

  private let parameters: BenchParameters
  private let pool: KVPool

  init(_ parameters: BenchParameters, _ pool: KVPool) {
    self.parameters = parameters
    self.pool = pool
  }

  /// - Returns: the nodes as they describe themselves, and which of them takes what.
  func take() async throws(BenchError) -> (descriptions: [NodeDescription], targets: TargetMap) {
    var descriptions: [NodeDescription] = []
    for target in parameters.targets { descriptions.append(try await describe(target).get()) }
    let map = try await configuration()
    if parameters.route == .entry {
      return (descriptions, try TargetMap(entries: descriptions, map))
    }
    let (readFrom, hasWrites) = (parameters.readFrom, parameters.mix.hasWrites)
    guard let map else {
      return (
        descriptions, try TargetMap(descriptions, readFrom: readFrom, hasWrites: hasWrites)
      )
    }
    let nodes = await describe(map, known: descriptions)
    let targets = try TargetMap(map, nodes, readFrom: readFrom, hasWrites: hasWrites)
    return (nodes.filter { targets.nodes.prefix(targets.usedCount).contains($0.address) }, targets)
  }

  /// Nil where the targets have none.
  private func configuration() async throws(BenchError) -> ShardMap? {
    let target = parameters.targets[0]
    let answer = await ConfigurationSource(pool).ask(
      target, deadline: .now() + .seconds(Self.probeSeconds))
    switch answer {
    case .map(let map): return map
    case .nothing: return nil
    case .failed(let error): throw .target("\(error)")
    }
  }

  /// The nodes of a configuration that answer, in its order.
  private func describe(
    _ map: ShardMap, known: [NodeDescription]
  ) async -> [NodeDescription] {
    let nodes = map.addresses.compactMap(NodeAddress.parsed)
    var found = known
    await withTaskGroup(of: NodeDescription?.self) { group in
      for node in nodes where !known.contains(where: { $0.address == node }) {
        group.addTask {
          // One that does not answer is not asked for anything.
          if case .success(let description) = await describe(node) { description } else { nil }
        }
      }
      for await description in group { if let description { found.append(description) } }
    }
    return nodes.compactMap { node in found.first { $0.address == node } }
  }

  private func describe(_ node: NodeAddress) async -> Result<NodeDescription, BenchError> {
    let client = NodeClient(node, pool: pool, timeout: .seconds(Self.probeSeconds))
    let status: [UInt8]
    do throws(KVClientError) {
      status = try await client.status()
    } catch {
      return .failure(.target(error.description))
    }
    do throws(BenchError) {
      return .success(try NodeDescription(address: node, status: status))
    } catch {
      return .failure(error)
    }
  }
}
