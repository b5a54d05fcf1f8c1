import Client

/// Which node leads a shard, by what its nodes say of themselves.
package enum LeaderChoice {
  /// The one that leads with the highest epoch: its number counts, then its node.
  package static func leader(among reports: [NodeReport]) -> NodeReport? {
    reports.filter { $0.role == .leader }.max { $0.epoch < $1.epoch }
  }

  /// Whether those who have not answered need not be waited for: one leads, and most have answered. An old
  /// leader that was cut off may answer first, but it is not most of them.
  package static func isSettled(_ reports: [NodeReport], answered: Int, of asked: Int) -> Bool {
    answered == asked || leader(among: reports) != nil && answered > asked / 2
  }

  /// Nodes that were not asked, and that somebody names as the leader: the highest epoch's first.
  package static func named(by reports: [NodeReport], asked: [NodeAddress]) -> [NodeAddress] {
    var named: [NodeAddress] = []
    for report in reports.sorted(by: { $1.epoch < $0.epoch }) {
      guard let leader = report.leader, !asked.contains(leader), !named.contains(leader)
      else { continue }
      named.append(leader)
    }
    return named
  }
}
