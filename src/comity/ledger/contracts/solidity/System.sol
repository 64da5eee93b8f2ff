// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// What the system contracts share: where they stand, how they call each other, and the two rules each entry obeys.
// They are installed at genesis as runtime code, so there are no constructors and no immutables.

IMembers constant MEMBERS = IMembers(address(0x00000000000000000000000000000000C0000001));
IRecords constant RECORDS = IRecords(address(0x00000000000000000000000000000000c0000002));
IGrants constant GRANTS = IGrants(address(0x00000000000000000000000000000000c0000003));
address constant GOVERNANCE = address(0x00000000000000000000000000000000C0000004);
address constant STUDIES = address(0x00000000000000000000000000000000c0000005);
IServices constant SERVICES = IServices(address(0x00000000000000000000000000000000c0000006));

interface IMembers {
    function isMember(address org) external view returns (bool);
    function count() external view returns (uint256);
    function validatorCount() external view returns (uint256);
    function validatorOf(address org) external view returns (address);
    function admit(string calldata name, address org, address validator, string calldata endpoint) external;
}

interface IRecords {
    function place(bytes32 kind, address org, bytes calldata payload) external returns (bytes32 digest);
    function record(bytes32 digest) external view returns (uint64 height, bytes32 kind, address org);
}

interface IGrants {
    function covers(bytes32 dataset, address who, bytes32 purpose) external view returns (bool);
    function isRevoked(bytes32 about) external view returns (bool);
}

interface IServices {
    function rules(bytes32 service) external view returns (uint8 approvals, uint32 time_lock_s);
    function current(bytes32 service) external view returns (bytes32 model, bytes32 proposal, uint64 since);
    function point(bytes32 service, bytes32 model, bytes32 proposal) external;
}

abstract contract System {
    /// An entry is called by an account, never through a contract: what the transaction says is then all there is to check.
    modifier direct() {
        require(msg.sender == tx.origin, "a system contract is called directly, not through another contract");
        _;
    }

    modifier onlyMember() {
        require(MEMBERS.isMember(msg.sender), "the sender is not a member");
        _;
    }

    /// Anchors the caller's record. The signature is carried for everyone who holds the block, who checks it off chain.
    function _place(bytes32 kind, bytes calldata payload, bytes calldata signature) internal returns (bytes32 digest) {
        require(signature.length == 65, "a signature is 65 bytes");
        return RECORDS.place(kind, msg.sender, payload);
    }

    /// The organisation that anchored `digest`, which must be a record of this kind.
    function _ownerOf(bytes32 digest, bytes32 kind, string memory otherwise) internal view returns (address) {
        (, bytes32 found, address org) = RECORDS.record(digest);
        require(found == kind, otherwise);
        return org;
    }
}
