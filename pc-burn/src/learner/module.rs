//! A `PcModel` as a module: the model itself, seen through, so that paths, records and parameter
//! groups are the model's own.

use std::fmt;

use burn::{
    module::{
        Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault,
        ModuleMapper, ModuleVisitor,
    },
    tensor::Device,
};

use super::PcModel;

impl<M: Module> PcModel<M> {
    /// The same with another model.
    fn with(&self, model: M) -> Self {
        Self { model, pc: self.pc.clone(), interrupter: self.interrupter.clone() }
    }
}

impl<M: Module> Clone for PcModel<M> {
    fn clone(&self) -> Self {
        self.with(self.model.clone())
    }
}

impl<M: Module> fmt::Debug for PcModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PcModel").field(&self.model).finish()
    }
}

/// Every path is the model's own: `dense.weight`, not `model.dense.weight`. So records load from
/// the plain model and into it, and optimiser groups by path match what they match there.
impl<M: Module> Module for PcModel<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let Self { model, pc, interrupter } = self;
        Self { model: model.fork(device), pc, interrupter }
    }

    fn to_device(self, device: &Device) -> Self {
        let Self { model, pc, interrupter } = self;
        Self { model: model.to_device(device), pc, interrupter }
    }

    fn train(self) -> Self {
        let Self { model, pc, interrupter } = self;
        Self { model: model.train(), pc, interrupter }
    }

    fn valid(&self) -> Self {
        self.with(self.model.valid())
    }

    fn materialize(self) -> Self {
        let Self { model, pc, interrupter } = self;
        Self { model: model.materialize(), pc, interrupter }
    }

    fn num_params(&self) -> usize {
        self.model.num_params()
    }

    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.model.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let Self { model, pc, interrupter } = self;
        Self { model: model.map(mapper), pc, interrupter }
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for PcModel<M>
where
    M: Module,
{
    fn content(&self, content: Content) -> Option<Content> {
        self.model.content(content)
    }

    fn num_params(&self) -> usize {
        Module::num_params(&self.model)
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for PcModel<M> {
    fn format(&self, passed_settings: DisplaySettings) -> String {
        self.model.format(passed_settings)
    }
}

impl<M: Module + ModuleDisplay> fmt::Display for PcModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model.format(DisplaySettings::default()))
    }
}
